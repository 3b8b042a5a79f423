"""What tests of Clonepool and of its drivers use: suites, fakes and test images."""

"""What makes is equal should-be: one controller a kind of thing."""

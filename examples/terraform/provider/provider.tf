terraform {
  required_providers {
    clonepool = {
      source = "clonepool/clonepool"
    }
  }
}

# without an endpoint: CLONEPOOL_ENDPOINT, else this machine's own engine
provider "clonepool" {}

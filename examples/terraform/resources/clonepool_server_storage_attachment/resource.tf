# a server of the inventory
resource "clonepool_server_storage_attachment" "web" {
  name   = "web1"
  pool   = clonepool_replica_pool.web.name
  server = clonepool_server.web.name

  timeouts = { create = "10m" }
}

variable "chap_secret" {
  type      = string
  ephemeral = true
}

# one that need not be declared, with a CHAP account of your own
resource "clonepool_server_storage_attachment" "batch" {
  name = "batch"
  pool = clonepool_replica_pool.web.name

  inline_server = {
    name      = "batch1"
    initiator = "iqn.2026-01.com.example:batch1"
  }

  chap = {
    mode           = "given"
    username       = "batch"
    secret         = var.chap_secret
    secret_version = 1
  }
}

output "target" {
  value = clonepool_server_storage_attachment.web.connection.target
}

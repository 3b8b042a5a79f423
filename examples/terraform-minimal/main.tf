# One master image, a pool of its replicas, and a server that gets one.
terraform {
  required_providers {
    clonepool = { source = "clonepool/clonepool" }
  }
}

variable "image" {
  description = "The master image's file, on the engine's machine, or an http(s) URL."
  type        = string
}

variable "fabric" {
  description = "The engine's fabric, iscsi or local."
  type        = string
  default     = "iscsi"
}

variable "initiator" {
  description = "The server's initiator name; of no meaning on the local fabric."
  type        = string
  default     = "iqn.2026-01.com.example:web1"
}

resource "clonepool_master_image" "web" {
  name        = "web"
  system_user = { name = "acme", kind = "customer" }
  writable    = { source = var.image }
}

resource "clonepool_replica_pool" "web" {
  name         = "web"
  master_image = clonepool_master_image.web.name
  fabric       = var.fabric
  min_ready    = 2
  scrub        = { threshold = 2 }
}

resource "clonepool_server_storage_attachment" "web1" {
  name          = "web1"
  pool          = clonepool_replica_pool.web.name
  inline_server = { name = "web1", initiator = var.initiator }
}

output "volume" {
  value = clonepool_server_storage_attachment.web1.volume
}

output "connection" {
  value = clonepool_server_storage_attachment.web1.connection
}

output "chap_username" {
  value = clonepool_server_storage_attachment.web1.chap_username
}

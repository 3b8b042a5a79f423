resource "clonepool_server" "web" {
  name      = "web1"
  initiator = "iqn.2026-01.com.example:web1"
  labels    = { rack = "r1" }
}

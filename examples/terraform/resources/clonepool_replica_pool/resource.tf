resource "clonepool_replica_pool" "web" {
  name         = "web"
  master_image = clonepool_master_image.web.name
  min_ready    = 2
  max_replicas = 20

  scrub = { threshold = 5, method = "zero" }
}

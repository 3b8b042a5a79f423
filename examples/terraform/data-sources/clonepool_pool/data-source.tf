data "clonepool_pool" "web" {
  id = clonepool_replica_pool.web.id
}

output "ready" {
  value = data.clonepool_pool.web.ready
}

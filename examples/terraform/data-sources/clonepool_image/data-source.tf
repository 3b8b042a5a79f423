data "clonepool_image" "web" {
  id = clonepool_master_image.web.id
}

output "imported" {
  value = data.clonepool_image.web.latest_state
}

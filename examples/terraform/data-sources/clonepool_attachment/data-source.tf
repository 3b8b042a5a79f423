data "clonepool_attachment" "web" {
  id = clonepool_server_storage_attachment.web.id
}

output "state" {
  value = data.clonepool_attachment.web.state
}

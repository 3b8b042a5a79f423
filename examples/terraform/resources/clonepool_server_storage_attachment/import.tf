import {
  to = clonepool_server_storage_attachment.web
  id = "web1" # its name, or its id
}

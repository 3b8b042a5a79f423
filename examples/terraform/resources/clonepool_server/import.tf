import {
  to = clonepool_server.web
  id = "web1" # its name, or its id
}

import {
  to = clonepool_master_image.web
  id = "web" # its name, or its id
}

import {
  to = clonepool_replica_pool.web
  id = "web" # its name, or its id
}

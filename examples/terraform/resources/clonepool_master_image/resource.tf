resource "clonepool_master_image" "web" {
  name        = "web"
  system_user = { name = "acme", kind = "customer" }

  read_only = { source = "/srv/images/app.img" }
  writable  = { source = "/srv/images/web.img", size = "16MiB" }

  preconfigure = [
    { portion = "writable", path = "/etc/motd", content = "Welcome to acme's web servers.\n" },
  ]

  labels   = { team = "web" }
  timeouts = { create = "1h" }
}

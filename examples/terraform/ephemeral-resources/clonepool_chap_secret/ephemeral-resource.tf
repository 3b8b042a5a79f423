ephemeral "clonepool_chap_secret" "web" {
  id = clonepool_server_storage_attachment.web.id
}

# hand it on: to a provisioner, another provider's configuration, or a write-only value
resource "terraform_data" "account" {
  triggers_replace = clonepool_server_storage_attachment.web.id

  provisioner "local-exec" {
    command     = "umask 077; printf '%s' \"$SECRET\" > chap-secret"
    environment = { SECRET = ephemeral.clonepool_chap_secret.web.secret }
  }
}

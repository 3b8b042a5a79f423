terraform import clonepool_server.web web1

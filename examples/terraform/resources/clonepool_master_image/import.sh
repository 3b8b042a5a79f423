terraform import clonepool_master_image.web web

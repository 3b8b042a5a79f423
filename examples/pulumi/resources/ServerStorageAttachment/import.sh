# the last word is its name, or its id
pulumi import clonepool:index:ServerStorageAttachment web1 web1

# the last word is its name, or its id
pulumi import clonepool:index:Server web1 web1

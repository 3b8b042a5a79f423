# the last word is its name, or its id
pulumi import clonepool:index:MasterImage web web

# the last word is its name, or its id
pulumi import clonepool:index:ReplicaPool web web

terraform import clonepool_replica_pool.web web

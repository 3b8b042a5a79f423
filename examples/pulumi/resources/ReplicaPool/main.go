package main

import (
	"clonepool.dev/sdk/go/clonepool"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		// two replicas of the master image "web", always ready
		web, err := clonepool.NewReplicaPool(ctx, "web", &clonepool.ReplicaPoolArgs{
			Name:        pulumi.String("web"),
			MasterImage: pulumi.String("web"),
			MinReady:    pulumi.Int(2),
			MaxReplicas: pulumi.Int(20),
			Scrub: &clonepool.ScrubPolicyArgs{
				Threshold: pulumi.Int(5),
				Method:    clonepool.ScrubMethodZero,
			},
		})
		if err != nil {
			return err
		}
		ctx.Export("pool", web.Name)
		return nil
	})
}

package main

import (
	"clonepool.dev/sdk/go/clonepool"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		// of a resource that the same program declares: GetPoolOutput, with its ID()
		found, err := clonepool.GetPool(ctx, &clonepool.GetPoolArgs{Name: "web"})
		if err != nil {
			return err
		}
		ctx.Export("ready", pulumi.Int(found.Ready))
		return nil
	})
}

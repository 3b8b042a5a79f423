package main

import (
	"clonepool.dev/sdk/go/clonepool"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		// of a resource that the same program declares: GetImageOutput, with its ID()
		found, err := clonepool.GetImage(ctx, &clonepool.GetImageArgs{Name: "web"})
		if err != nil {
			return err
		}
		ctx.Export("imported", pulumi.String(found.LatestState))
		return nil
	})
}

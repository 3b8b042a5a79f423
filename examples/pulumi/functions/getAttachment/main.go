package main

import (
	"clonepool.dev/sdk/go/clonepool"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		// of a resource that the same program declares: GetAttachmentOutput, with its ID()
		found, err := clonepool.GetAttachment(ctx, &clonepool.GetAttachmentArgs{Name: "web1"})
		if err != nil {
			return err
		}
		ctx.Export("state", pulumi.String(found.State))
		return nil
	})
}

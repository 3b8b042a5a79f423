package main

import (
	"clonepool.dev/sdk/go/clonepool"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		// a server of the inventory, found by its name or by its labels
		web1, err := clonepool.NewServer(ctx, "web1", &clonepool.ServerArgs{
			Name:      pulumi.String("web1"),
			Initiator: pulumi.String("iqn.2026-01.com.example:web1"),
			Labels:    pulumi.StringMap{"rack": pulumi.String("r1")},
		})
		if err != nil {
			return err
		}
		ctx.Export("server", web1.Name)
		return nil
	})
}

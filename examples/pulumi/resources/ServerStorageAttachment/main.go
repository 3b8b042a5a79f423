package main

import (
	"clonepool.dev/sdk/go/clonepool"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		// a server of the inventory
		web1, err := clonepool.NewServerStorageAttachment(ctx, "web1",
			&clonepool.ServerStorageAttachmentArgs{
				Name:   pulumi.String("web1"),
				Pool:   pulumi.String("web"),
				Server: pulumi.String("web1"),
			}, pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "10m"}))
		if err != nil {
			return err
		}
		// one that need not be declared, with a CHAP account of your own
		_, err = clonepool.NewServerStorageAttachment(ctx, "batch",
			&clonepool.ServerStorageAttachmentArgs{
				Name: pulumi.String("batch"),
				Pool: pulumi.String("web"),
				InlineServer: &clonepool.InlineServerArgs{
					Name:      pulumi.String("batch1"),
					Initiator: pulumi.String("iqn.2026-01.com.example:batch1"),
				},
				Chap: &clonepool.ChapArgs{
					Mode:     clonepool.ChapModeGiven,
					Username: pulumi.String("batch"),
					Secret:   config.RequireSecret(ctx, "chapSecret"),
				},
			})
		if err != nil {
			return err
		}
		ctx.Export("target", web1.Connection.Target())
		// a secret: encrypted in the state, and shown with --show-secrets only
		ctx.Export("chapSecret", web1.ChapSecret)
		return nil
	})
}

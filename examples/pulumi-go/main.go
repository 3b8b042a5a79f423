// One master image, a pool of its replicas, and a server that gets one.
package main

import (
	"clonepool.dev/sdk/go/clonepool"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		settings := config.New(ctx, "")
		image, err := clonepool.NewMasterImage(ctx, "web", &clonepool.MasterImageArgs{
			SystemUser: &clonepool.SystemUserArgs{
				Name: pulumi.String("acme"),
				Kind: clonepool.SystemUserKindCustomer,
			},
			Writable: &clonepool.ImagePortionArgs{Source: pulumi.String(settings.Require("image"))},
		})
		if err != nil {
			return err
		}
		pool, err := clonepool.NewReplicaPool(ctx, "web", &clonepool.ReplicaPoolArgs{
			MasterImage: image.Name,
			Fabric:      pulumi.String(settings.Require("fabric")),
			MinReady:    pulumi.Int(2),
			Scrub:       &clonepool.ScrubPolicyArgs{Threshold: pulumi.Int(2)},
		})
		if err != nil {
			return err
		}
		web1, err := clonepool.NewServerStorageAttachment(ctx, "web1",
			&clonepool.ServerStorageAttachmentArgs{
				Pool: pool.Name,
				InlineServer: &clonepool.InlineServerArgs{
					Name:      pulumi.String("web1"),
					Initiator: pulumi.String(settings.Require("initiator")),
				},
			}, pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "2m"}))
		if err != nil {
			return err
		}
		ctx.Export("volume", web1.Volume)
		ctx.Export("connection", web1.Connection)
		ctx.Export("chapUsername", web1.ChapUsername)
		ctx.Export("chapSecret", web1.ChapSecret)
		// by its id: a preview that creates the pool does not know it, and waits
		stock := clonepool.GetPoolOutput(ctx, clonepool.GetPoolOutputArgs{Name: pool.ID()})
		ctx.Export("ready", stock.Ready())
		return nil
	})
}

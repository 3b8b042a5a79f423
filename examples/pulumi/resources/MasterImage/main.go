package main

import (
	"clonepool.dev/sdk/go/clonepool"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		// a master image of acme's: what all its servers share, and what each gets a clone of
		web, err := clonepool.NewMasterImage(ctx, "web", &clonepool.MasterImageArgs{
			Name: pulumi.String("web"),
			SystemUser: &clonepool.SystemUserArgs{
				Name: pulumi.String("acme"),
				Kind: clonepool.SystemUserKindCustomer,
			},
			ReadOnly: &clonepool.ImagePortionArgs{Source: pulumi.String("/srv/images/app.img")},
			Writable: &clonepool.ImagePortionArgs{
				Source: pulumi.String("/srv/images/web.img"),
				Size:   pulumi.String("16MiB"),
			},
			Preconfigure: clonepool.PreconfiguredFileArray{
				&clonepool.PreconfiguredFileArgs{
					Portion: clonepool.PortionRoleWritable,
					Path:    pulumi.String("/etc/motd"),
					Content: pulumi.String("Welcome to acme's web servers.\n"),
				},
			},
			Labels: pulumi.StringMap{"team": pulumi.String("web")},
		}, pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "1h"}))
		if err != nil {
			return err
		}
		ctx.Export("version", web.Version)
		ctx.Export("size", web.SizeBytes.Writable())
		return nil
	})
}

// Command gensdk writes the SDKs of a package's schema.json: gensdk SCHEMA LANGUAGE OUT.
//
// `pulumi package gen-sdk` asks a language host for it, which the host that can be built from
// modules does not offer; the generators themselves are libraries of the command line's module.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/blang/semver"
	golang "github.com/pulumi/pulumi/pkg/v3/codegen/go"
	"github.com/pulumi/pulumi/pkg/v3/codegen/nodejs"
	"github.com/pulumi/pulumi/pkg/v3/codegen/python"
	"github.com/pulumi/pulumi/pkg/v3/codegen/schema"
)

const tool = "gensdk"

// alone refuses every other package: our schema refers to none.
type alone struct{}

func (alone) LoadPackage(pkg string, _ *semver.Version) (*schema.Package, error) {
	return nil, fmt.Errorf("the schema refers to package %s; only its own types are known here", pkg)
}

func (a alone) LoadPackageV2(
	_ context.Context, described *schema.PackageDescriptor,
) (*schema.Package, error) {
	return a.LoadPackage(described.Name, nil)
}

func (a alone) LoadPackageReference(
	pkg string, _ *semver.Version,
) (schema.PackageReference, error) {
	_, err := a.LoadPackage(pkg, nil)
	return nil, err
}

func (a alone) LoadPackageReferenceV2(
	_ context.Context, described *schema.PackageDescriptor,
) (schema.PackageReference, error) {
	return a.LoadPackageReference(described.Name, nil)
}

func generate(pkg *schema.Package, language string) (map[string][]byte, error) {
	switch language {
	case "python":
		return python.GeneratePackage(tool, pkg, nil, alone{})
	case "nodejs":
		return nodejs.GeneratePackage(tool, pkg, nil, nil, false, alone{})
	case "go":
		return golang.GeneratePackage(tool, pkg, nil)
	}
	return nil, fmt.Errorf("%s is no language: python, nodejs or go", language)
}

func bind(path string) (*schema.Package, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var spec schema.PackageSpec
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, err
	}
	pkg, diagnostics, err := schema.BindSpec(spec, alone{}, schema.ValidationOptions{})
	if err == nil && diagnostics.HasErrors() {
		err = diagnostics
	}
	return pkg, err
}

func write(files map[string][]byte, out string) error {
	for name, text := range files {
		path := filepath.Join(out, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: gensdk SCHEMA python|nodejs|go OUT")
	}
	pkg, err := bind(args[0])
	if err != nil {
		return err
	}
	files, err := generate(pkg, args[1])
	if err != nil {
		return err
	}
	return write(files, args[2])
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gensdk:", err)
		os.Exit(1)
	}
}

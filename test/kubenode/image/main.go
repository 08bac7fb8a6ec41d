// Command image writes a container image archive from a directory, without a
// registry and without Docker:
//
//	image [--arch GOARCH] [--user UID:GID] [--env NAME=VALUE]... [--workdir DIR] [--owners] DIR TAG OUT.tar ENTRYPOINT [ARG...]
//
// The directory is the image's root file system, with modes and symbolic links
// as they are. Files belong to root unless --owners keeps the owners that they
// have. The same input gives the same bytes. The archive is an OCI image layout,
// which ctr, nerdctl, podman, kind and Docker 25 load.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// Command controlplane is a multi-call binary: started as kube-apiserver,
// kube-controller-manager, kube-scheduler, kube-proxy, kubelet or metrics-server (a
// symbolic link with that name), it is that program.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/component-base/cli"
)

func main() {
	newCommand, ok := programs()[filepath.Base(os.Args[0])]
	if !ok {
		fmt.Fprintf(os.Stderr, "unknown program %q: start this binary through a link named after the program\n", os.Args[0])
		os.Exit(2)
	}
	os.Exit(cli.Run(newCommand()))
}

// Man writes a manual page of each command of speedctl into a folder. It is a program
// of its own so that speedctl holds no Markdown parser.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra/doc"

	"github.com/speedscale/speedscale/speedctl/command"
	"github.com/speedscale/speedscale/speedctl/term"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: man VERSION DIR")
		os.Exit(2)
	}
	root := command.New(term.System())
	root.DisableAutoGenTag = true // It has the day. That of the pages is SOURCE_DATE_EPOCH's.
	header := &doc.GenManHeader{Section: "1", Source: "speedctl " + os.Args[1], Manual: "Speedscale"}
	if err := doc.GenManTree(root, header, os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

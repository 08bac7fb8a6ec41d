// Package charts has the Helm charts, for whoever installs them without a repository.
package charts

import (
	"embed"
	"io/fs"
)

// all: takes files that begin with an underscore, which templates share, too.
//
//go:embed all:speedscale-cloud all:speedscale-operator
var files embed.FS

// Files has a folder for each chart, by its name.
func Files() fs.FS { return files }

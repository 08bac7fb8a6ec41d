// Package disk asks the operating system about the volume of a folder, and locks
// files against other processes.
package disk

// Space is what a volume has, in bytes.
type Space struct {
	Size int64
	// Free is what is left for such as us: the file system's reserve and the user's
	// quota, where the system counts it, are not in it.
	Free int64
}

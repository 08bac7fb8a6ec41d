package broker

import "golang.org/x/sys/unix"

// FreeBytes returns what the file system of dir has left for such as us.
func FreeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // it is not an int64 on every system
}

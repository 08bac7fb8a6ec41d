package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Media types of the OCI image specification 1.1. Layers are not compressed: the
// archive goes from one disk to the same disk.
const (
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type imageConfig struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		User       string   `json:"User,omitempty"`
		Env        []string `json:"Env,omitempty"`
		Entrypoint []string `json:"Entrypoint"`
		WorkingDir string   `json:"WorkingDir,omitempty"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// write makes the archive beside its place and then moves it there, so that an
// archive is whole or absent.
func write(o options) (err error) {
	if info, err := os.Stat(o.dir); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%q is not a directory: put the image's files into one, at their places in the image", o.dir)
	}
	layer, err := os.CreateTemp(filepath.Dir(o.out), ".layer-")
	if err != nil {
		return err
	}
	defer os.Remove(layer.Name())
	defer layer.Close()
	out, err := os.CreateTemp(filepath.Dir(o.out), ".image-")
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			os.Remove(out.Name())
			return
		}
		err = errors.Join(os.Chmod(out.Name(), 0o644), os.Rename(out.Name(), o.out))
	}()

	hash := sha256.New()
	if err := writeLayer(io.MultiWriter(layer, hash), o); err != nil {
		return err
	}
	size, err := layer.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return writeLayout(out, o, descriptor{MediaType: typeLayer, Digest: digest(hash.Sum(nil)), Size: size}, layer)
}

// writeLayout writes the OCI image layout whose only layer is read from content.
func writeLayout(w io.Writer, o options, layer descriptor, content io.Reader) error {
	tw := tar.NewWriter(w)
	add := func(name string, size int64, from io.Reader) error {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size}); err != nil {
			return err
		}
		_, err := io.Copy(tw, from)
		return err
	}
	blob := func(mediaType string, v any) (descriptor, error) {
		b, err := json.Marshal(v)
		if err != nil {
			return descriptor{}, err
		}
		sum := sha256.Sum256(b)
		d := descriptor{MediaType: mediaType, Digest: digest(sum[:]), Size: int64(len(b))}
		return d, add(d.path(), d.Size, bytes.NewReader(b))
	}

	if err := add(layer.path(), layer.Size, content); err != nil {
		return err
	}
	c := imageConfig{Architecture: o.arch, OS: "linux"}
	c.Config.User, c.Config.Env, c.Config.Entrypoint, c.Config.WorkingDir = o.user, o.env, o.entrypoint, o.workdir
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []string{layer.Digest}
	config, err := blob(typeConfig, c)
	if err != nil {
		return err
	}
	m, err := blob(typeManifest, manifest{SchemaVersion: 2, MediaType: typeManifest, Config: config, Layers: []descriptor{layer}})
	if err != nil {
		return err
	}
	m.Annotations = map[string]string{"io.containerd.image.name": o.tag, "org.opencontainers.image.ref.name": o.tag}
	idx, err := json.Marshal(index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{m}})
	if err != nil {
		return err
	}
	if err := add("index.json", int64(len(idx)), bytes.NewReader(idx)); err != nil {
		return err
	}
	version := []byte(`{"imageLayoutVersion":"1.0.0"}`)
	if err := add("oci-layout", int64(len(version)), bytes.NewReader(version)); err != nil {
		return err
	}
	return tw.Close()
}

// writeLayer writes the directory as a tar stream, in the order of names.
func writeLayer(w io.Writer, o options) error {
	tw := tar.NewWriter(w)
	err := filepath.WalkDir(o.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(o.dir, path)
		if err != nil || rel == "." {
			return err
		}
		if err := writeEntry(tw, path, filepath.ToSlash(rel), d, o.owners); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
	return errors.Join(err, tw.Close())
}

func writeEntry(tw *tar.Writer, path, name string, d fs.DirEntry, owners bool) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	var target string
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	full, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	// Of the header only what an image needs is kept: no times, no user names.
	h := &tar.Header{Typeflag: full.Typeflag, Name: name, Linkname: target, Mode: full.Mode, Size: full.Size,
		Devmajor: full.Devmajor, Devminor: full.Devminor}
	if d.IsDir() {
		h.Name += "/"
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && owners {
		h.Uid, h.Gid = int(stat.Uid), int(stat.Gid)
	}
	if err := tw.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(tw, f)
	return err
}

func digest(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

// path is the blob's place in the layout.
func (d descriptor) path() string { return "blobs/sha256/" + d.Digest[len("sha256:"):] }

// A yardstick for push and pull: the steps that the specification says the original takes, with nothing but Go's
// standard library. It is no client: no credentials, no retries, one layer, and it panics at the first trouble.
//
//	yardstick push 127.0.0.1:5000/v2/bench/tree FOLDER
//	yardstick pull 127.0.0.1:5000/v2/bench/tree FOLDER
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

const (
	manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	configType   = "application/vnd.docker.container.image.v1+json"
	layerType    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

type descriptor struct {
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
	Digest    string `json:"digest"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	base := "http://" + os.Args[2]
	if os.Args[1] == "push" {
		push(base, os.Args[3])
	} else {
		pull(base, os.Args[3])
	}
}

// push writes a tar file, compresses it once for its digest and again for the upload, as the original does.
func push(base, folder string) {
	file := must(os.CreateTemp("", "yardstick"))
	defer os.Remove(file.Name())
	writeTar(file, folder)
	diffID := describe("", must(os.Open(file.Name()))).Digest
	layer := describe(layerType, compressed(file.Name()))
	config := []byte(`{"rootfs":{"type":"layers","diff_ids":["` + diffID + `"]},"config":{}}`)
	described := describe(configType, bytes.NewReader(config))
	done := make(chan bool)
	go func() {
		upload(base, layer.Digest, compressed(file.Name()))
		close(done)
	}()
	upload(base, described.Digest, bytes.NewReader(config))
	<-done
	raw := must(json.Marshal(manifest{2, manifestType, described, []descriptor{layer}}))
	ask("PUT", base+"/manifests/v1", manifestType, bytes.NewReader(raw)).Body.Close()
	fmt.Println(layer.Digest)
}

func writeTar(file *os.File, folder string) {
	out := tar.NewWriter(file)
	check(filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		check(err)
		name := must(filepath.Rel(folder, path))
		if entry.IsDir() {
			return out.WriteHeader(&tar.Header{Name: name, Mode: 0700, Typeflag: tar.TypeDir})
		}
		info := must(entry.Info())
		mode := int64(info.Mode() & 0700)
		check(out.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: info.Size(), Typeflag: tar.TypeReg}))
		source := must(os.Open(path))
		defer source.Close()
		_, err = io.Copy(out, source)
		return err
	}))
	check(out.Close())
	check(file.Close())
}

func compressed(path string) io.Reader {
	reader, writer := io.Pipe()
	go func() {
		source := must(os.Open(path))
		defer source.Close()
		buffered := bufio.NewWriterSize(writer, 128<<10)
		zipped := must(gzip.NewWriterLevel(buffered, gzip.BestSpeed))
		must(io.Copy(zipped, source))
		check(zipped.Close())
		check(buffered.Flush())
		check(writer.Close())
	}()
	return reader
}

func describe(mediaType string, content io.Reader) descriptor {
	hash := sha256.New()
	size := must(io.Copy(hash, content))
	return descriptor{mediaType, size, fmt.Sprintf("sha256:%x", hash.Sum(nil))}
}

func upload(base, digest string, content io.Reader) {
	held := must(http.Head(base + "/blobs/" + digest))
	held.Body.Close()
	if held.StatusCode == http.StatusOK {
		return
	}
	place := ask("POST", base+"/blobs/uploads/", "application/json", nil).Header.Get("Location")
	place = ask("PATCH", place, "application/octet-stream", content).Header.Get("Location")
	ask("PUT", place+"&digest="+digest, "", nil).Body.Close()
}

func ask(method, url, contentType string, content io.Reader) *http.Response {
	request := must(http.NewRequest(method, url, content))
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Accept", manifestType)
	response := must(http.DefaultClient.Do(request))
	if response.StatusCode >= 300 {
		panic(response.Status + " " + string(must(io.ReadAll(response.Body))))
	}
	return response
}

// pull unpacks what it downloads into an empty folder, and looks at the digest last, as the original does.
func pull(base, folder string) {
	var read manifest
	check(json.NewDecoder(ask("GET", base+"/manifests/v1", "", nil).Body).Decode(&read))
	must(io.Copy(io.Discard, ask("GET", base+"/blobs/"+read.Config.Digest, "", nil).Body))
	check(os.RemoveAll(folder))
	check(os.MkdirAll(folder, 0777))
	for _, layer := range read.Layers {
		hash := sha256.New()
		content := io.TeeReader(ask("GET", base+"/blobs/"+layer.Digest, "", nil).Body, hash)
		unpack(must(gzip.NewReader(bufio.NewReader(content))), folder)
		if !strings.HasSuffix(layer.Digest, fmt.Sprintf(":%x", hash.Sum(nil))) {
			panic("another digest than " + layer.Digest)
		}
	}
}

func unpack(content io.Reader, folder string) {
	archive := tar.NewReader(content)
	for entry, err := archive.Next(); err != io.EOF; entry, err = archive.Next() {
		check(err)
		path := filepath.Join(folder, entry.Name)
		check(os.MkdirAll(filepath.Dir(path), 0777))
		if entry.Typeflag != tar.TypeReg {
			continue
		}
		file := must(os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0644))
		must(io.Copy(file, archive))
		check(file.Close())
		check(os.Chtimes(path, entry.ModTime, entry.ModTime))
	}
	must(io.Copy(io.Discard, content))
}

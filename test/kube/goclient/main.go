// Command goclient is a client in Go as it comes: it calls a URL once a second, and
// prints what became of it.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	for ; ; time.Sleep(time.Second) {
		status, err := get(os.Args[1])
		fmt.Println(status, err)
	}
}

func get(url string) (string, error) {
	res, err := http.Get(url)
	if err != nil {
		return "failed", err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.Status, err
}

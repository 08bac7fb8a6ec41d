// Command probe is the program that the node's own test runs in pods:
//
//	probe serve [CLIENT-CA.pem]   answer HTTP on 8080, and TLS on 8443 for clients with a certificate of that authority
//	probe get URL                 print the answer
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

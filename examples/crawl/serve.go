package main

import (
	"embed"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
)

//go:embed sites
var sites embed.FS

// serve serves the three small sites, or the given directory as the first one,
// on loopback until it is killed.
func serve(args []string) {
	errs := make(chan error)
	for i, name := range []string{"example_com", "example_org", "example_net"} {
		root, err := fs.Sub(sites, "sites/"+name)
		if err != nil {
			panic(err)
		}
		if i == 0 && len(args) > 0 {
			root = os.DirFS(args[0])
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 8101+i))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("serving %s at http://%s/\n", name, l.Addr())
		go func() { errs <- http.Serve(l, http.FileServerFS(root)) }()
	}
	fmt.Fprintln(os.Stderr, <-errs)
	os.Exit(1)
}

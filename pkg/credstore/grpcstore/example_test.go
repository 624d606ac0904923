package grpcstore_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"

	"github.com/surgegate/surgegate/pkg/credstore/grpcstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

// Put surgegate before a store of your own: implement credstore.Store (here SQLite stands for it), or
// credstorev1.CredentialStoreServer itself, serve it, and name its address as store.grpc.address in the configuration.
func ExampleNewServer() {
	folder, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	yours, err := sqlite.New(context.Background(), sqlite.Config{Path: filepath.Join(folder, "store.db"), Sample: true})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = yours.Close() }()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	credstorev1.RegisterCredentialStoreServer(server, grpcstore.NewServer(yours))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		if err := <-served; err != nil {
			log.Fatal(err)
		}
	}()

	// What surgegate does with it.
	store, err := grpcstore.New(grpcstore.Config{Address: listener.Addr().String(), Insecure: true})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	found, err := store.Lookup(context.Background(), []string{"ada@example.com", "nobody@example.com"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(found[0]), len(found[1]))
	// Output: 1 0
}

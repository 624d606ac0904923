package sqlite_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
)

func ExampleNew() {
	folder, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	store, err := sqlite.New(context.Background(), sqlite.Config{Path: filepath.Join(folder, "store.db"), Sample: true})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	change := credstore.Change{
		AccountID: "1", ChangeID: "c1", Sequence: 1, AcceptTime: time.Now(),
		Password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE",
	}
	for range 2 {
		results, err := store.SetPasswords(context.Background(), []credstore.Change{change})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(results[0].Outcome)
	}
	// Output:
	// applied
	// already_applied
}

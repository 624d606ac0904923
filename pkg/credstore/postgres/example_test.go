package postgres_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
)

func ExampleNew() {
	_, err := postgres.New(context.Background(), postgres.Config{
		URL:      "postgres://surgegate:hunter2@localhost/app", // a password does not belong there
		Accounts: postgres.Accounts{Table: "users", Identifiers: []string{"login", "email"}, ID: "uid"},
	}, postgres.Deps{})
	fmt.Println(errors.Is(err, credstore.ErrConfig))
	fmt.Println(err)
	// Output:
	// true
	// postgres: credstore: configuration: url: holds a password: put it into a file and name that in password_file
}

package failure

// meanings is the table of Meaning. A key is a code or the beginning of one; the longest that matches counts. A key that
// holds for one downstream only begins with its name and a slash.
func meanings() map[string]string {
	return map[string]string{
		// gRPC backends.
		"UNKNOWN":             "The backend failed without saying why: its code threw an error. Look into the backend's log.",
		"INVALID_ARGUMENT":    "The backend refuses what surgegate sends as malformed. Compare its version of credstore.proto with surgegate's, and look into its log.",
		"INTERNAL":            "The backend reports a fault of its own. Look into its log.",
		"FAILED_PRECONDITION": "The backend is not in a state to take the call. Look into its log.",
		"NOT_FOUND":           "The backend answers NOT_FOUND to a whole call; an unknown account must be a result of its item. Correct the backend.",
		"ALREADY_EXISTS":      "The backend answers ALREADY_EXISTS to a whole call; a repeated change must be answered with the result ALREADY_APPLIED. Correct the backend.",
		"ABORTED":             "The backend gave the call up. Look into its log.",
		"OUT_OF_RANGE":        "The backend refuses a value in the batch. Look into its log.",
		"DATA_LOSS":           "The backend reports damaged data. Look into its log.",
		"CANCELLED":           "The backend cancelled the call. Look for a shorter deadline in the backend or in a proxy before it.",
		"UNAVAILABLE":         "The backend cannot be reached, or says that it cannot serve now. Check that it runs, store.grpc.address, and TLS on both sides.",
		"RESOURCE_EXHAUSTED":  "The backend says that it is overloaded. Surgegate slows down by itself; give the backend more capacity.",
		"DEADLINE_EXCEEDED":   "The backend's own deadline passed. It is too slow, or something that it waits for is.",
		"UNIMPLEMENTED":       "The backend does not implement the call. Deploy a backend that serves surgegate.credstore.v1.CredentialStore, or correct store.grpc.address.",
		"UNAUTHENTICATED":     "The backend does not accept surgegate's identity. Check store.grpc.cert and store.grpc.key, and whom the backend trusts.",
		"PERMISSION_DENIED":   "The backend knows surgegate and forbids the call. Grant surgegate's identity the four calls of CredentialStore.",
		BadAnswer:             "The backend answered another number of results than it was asked for. It must answer one result an item, in order. Correct the backend.",
		TooLarge:              "A message is larger than surgegate or the backend takes. Lower max_lookup_batch and max_set_batch in the backend's Describe.",
		NoForm:                "Describe answers no password_form that surgegate knows. Answer PASSWORD_FORM_HASH or PASSWORD_FORM_PLAINTEXT.",
		NoSchemes:             "Describe answers PASSWORD_FORM_HASH without hash_schemes. Name those that the backend verifies: argon2id, 2b.",
		NoneInCommon:          "The store verifies no hash scheme that surgegate makes. Add argon2id or 2b to hash_schemes, or take passwords as PASSWORD_FORM_PLAINTEXT.",
		OpenPlaintext:         "The backend wants plaintext passwords over an open line. Set store.grpc.ca for TLS, put the backend on loopback, or have it take hashes.",

		// PostgreSQL, by SQLSTATE or its class.
		"SQLSTATE 08":    "The connection to PostgreSQL failed. Check that the server runs and can be reached.",
		"SQLSTATE 22":    "A value does not fit its column. Look into PostgreSQL's log, and compare the column types with the configuration.",
		"SQLSTATE 23":    "A constraint or a trigger of the table refuses a row. Look into PostgreSQL's log.",
		"SQLSTATE 0A":    "PostgreSQL does not support what a statement asks for. Check that it is version 12 or newer, and store.postgres.statements.",
		"SQLSTATE 25":    "A transaction is not in a state to go on. Look for a pooler in between that mixes sessions.",
		"SQLSTATE 3F":    "There is no such schema. Correct the schema settings in store.postgres.",
		"SQLSTATE 55":    "An object is in use or not in a state to be used. Look into PostgreSQL's log.",
		"SQLSTATE 25006": "The server only reads. Point store.postgres.url at the primary, or see the role's default_transaction_read_only.",
		"SQLSTATE 26":    "Prepared statements do not last: a pooler is in between. Have it support them, or write default_query_exec_mode=exec into store.postgres.url.",
		"SQLSTATE 28":    "PostgreSQL refuses the role. See its password (store.postgres.password_file), its LOGIN and pg_hba.conf.",
		"SQLSTATE 3D":    "There is no such database. Correct store.postgres.url.",
		"SQLSTATE 40":    "Transactions got in each other's way (deadlock or serialization). They are repeated by themselves.",
		"SQLSTATE 42":    "The tables and store.postgres do not fit each other. `surgectl status` names what is missing.",
		"SQLSTATE 42501": "The role lacks a privilege. Give it the grants that the README lists.",
		"SQLSTATE 42P01": "A table is missing. See store.postgres.accounts.table, changes.table and sessions.table.",
		"SQLSTATE 53":    "PostgreSQL is out of a resource: disk, memory or connections. Look into its log.",
		"SQLSTATE 53300": "PostgreSQL has no connection left. Raise max_connections or the role's CONNECTION LIMIT, or lower store.postgres.max_connections.",
		"SQLSTATE 55P03": "A lock was not had in time. Look for a long transaction on the accounts' table (pg_stat_activity).",
		"SQLSTATE 57":    "PostgreSQL is shutting down, starting up, or an operator ended the statement. It comes back by itself, or somebody has to start it.",
		"SQLSTATE 57014": "A statement was cancelled: it took longer than its time-out. Look for locks and slow queries.",
		"SQLSTATE 57P04": "The database was dropped. Correct store.postgres.url, or restore it.",
		"SQLSTATE 58":    "PostgreSQL's system failed (input or output). Look into its log.",
		"SQLSTATE XX":    "PostgreSQL reports a fault of its own. Look into its log.",
		"SCHEMA":         "The tables and store.postgres do not fit each other. `surgectl status` names what is missing.",
		"UNWRITTEN":      "An account's row was locked and its password not written. A trigger, a row policy or statements.set leaves it out.",

		// SQLite, by the primary result code's name.
		"SQLITE_AUTH":       "The database does not permit the statement. Correct its owner and mode.",
		"SQLITE_PERM":       "The database may not be accessed so. Correct its owner and mode.",
		"SQLITE_LOCKED":     "A statement of another connection holds a table. It is repeated by itself.",
		"SQLITE_NOMEM":      "The process is out of memory. Give it more.",
		"SQLITE_PROTOCOL":   "The file's locks do not work. Do not put the database on a network file system.",
		"SQLITE_SCHEMA":     "The schema changed under a statement. Restart surgegate.",
		"SQLITE_CONSTRAINT": "A constraint or a trigger refuses a row. Look at what has been added to the tables.",
		"SQLITE_MISMATCH":   "A value does not fit its column. Look at what has been changed in the tables.",
		"SQLITE_TOOBIG":     "A value is larger than the database takes. Look at what has been changed in the tables.",
		"SQLITE_BUSY":       "Another process holds the database. Look for one that keeps a transaction open.",
		"SQLITE_READONLY":   "The database file is read-only. Correct its owner and mode.",
		"SQLITE_IOERR":      "The disk failed. Look into the kernel's log.",
		"SQLITE_CORRUPT":    "The database file is damaged. Restore it.",
		"SQLITE_FULL":       "The disk is full. Free space.",
		"SQLITE_CANTOPEN":   "The database file cannot be opened. Check store.sqlite.path, its owner and mode.",
		"SQLITE_NOTADB":     "The file is no database. Correct store.sqlite.path.",
		"SQLITE_ERROR":      "A statement does not fit the schema. Restore the tables that surgegate made.",

		// Items of a store.
		AskedToRetry: "The store asks to try single accounts again. If it does so for all, look into its log.",
		ItemRefused:  "The store refuses single passwords; those people get a new link. If it does so for all, correct its rules or hash_schemes.",

		// SMTP: by reply and enhanced code.
		"SMTP 4":       "The provider cannot take mail now. Surgegate tries again by itself.",
		"SMTP 421":     "The provider closes the connection: it is overloaded or limits how fast you send. Lower mail.pace if it lasts.",
		"SMTP 450":     "A mailbox cannot take its mail now, or the provider greylists. Such mails are tried again.",
		"SMTP 451 4.7": "The provider limits or delays you by its policy. Lower mail.pace, and ask the provider for your limits.",
		"SMTP 452":     "The provider is out of a resource, or a quota of yours is used up. Ask the provider for your limits.",
		"SMTP 454":     "The provider cannot sign you in, or start TLS, now. Surgegate tries again by itself.",
		"SMTP 5":       "The provider refuses for good. Ask it why.",
		"SMTP 530":     "The provider wants you to sign in first. Set mail.smtp.username and mail.smtp.password_file, and mail.smtp.tls.",
		"SMTP 534":     "The provider refuses the way surgegate signs in. Make a password for applications, and set mail.smtp.tls.",
		"SMTP 535":     "The provider refuses the user name or the password. Correct mail.smtp.username and mail.smtp.password_file.",
		"SMTP 538":     "The provider wants TLS before you sign in. Set mail.smtp.tls to starttls or implicit.",
		"SMTP 550":     "The provider refuses recipients. Single ones are dead mailboxes; all of them alike means that it does not relay for you: check mail.from and your account.",
		"SMTP 550 5.1": "Mailboxes of single recipients do not exist. Nothing is to be done.",
		"SMTP 550 5.7": "The provider refuses by its policy: sender not allowed, a block list, or SPF, DKIM or DMARC. Check mail.from and the sender domain's records, and ask the provider.",
		"SMTP 551":     "The provider does not relay for you. Check mail.smtp.address and your account.",
		"SMTP 552":     "A mailbox is full, or a quota of yours is used up. If it is every mail, ask the provider.",
		"SMTP 553":     "The provider refuses an address. If it is every mail, check mail.from: the account may not send as it.",
		"SMTP 554":     "The provider refuses the mail or you: a block list or its policy. Check the sender's reputation, and ask the provider.",

		// Connections and files, of any downstream.
		"ECONNREFUSED":      "Nothing listens at the address. Start the server, or correct the address.",
		"ECONNRESET":        "The server, or something in between, cut the connection. Look into its log, and for a firewall or proxy.",
		"EHOSTUNREACH":      "The host cannot be reached. Check the network and the address.",
		"ENETUNREACH":       "The network cannot be reached. Check routes and the address.",
		"EPIPE":             "The server closed the connection. Look into its log.",
		"ETIMEDOUT":         "The host does not answer. Check the network, the firewall and the address.",
		Lost:                "The connection ended in the middle of a call. Look into the server's log.",
		Certificate:         "The server's certificate is not trusted for this host. Correct the ca setting, or the certificate.",
		NameNotFound:        "The host name does not exist. Correct the address, or the DNS zone.",
		NameFailed:          "The name server does not answer. Check the resolver of this host.",
		"EACCES":            "Surgegate may not use the file or folder. Correct its owner and mode.",
		"EDQUOT":            "The quota of the disk is used up. Free space, or raise it.",
		"EIO":               "The disk failed. Look into the kernel's log.",
		"EMFILE":            "The process has too many open files. Raise the limit (ulimit -n, LimitNOFILE).",
		"ENOENT":            "A file or folder is gone. Restore it, or correct its path.",
		"ENOSPC":            "The disk is full. Free space.",
		"EROFS":             "The file system only reads. Look into the kernel's log.",
		"store/ENOENT":      "The server's socket or a file of store.postgres is not there. Start the server, or correct the path.",
		TimedOut:            "No answer within the deadline. The downstream is too slow or hangs, or packets are lost.",
		"hash_pool/TIMEOUT": "No hash was made within its deadline. The processors are busy, or hash.argon2id is too costly for them.",
		PoolFull:            "No slot of the hash pool came free within the deadline. Give the process more processors, or lower the cost of hashes.",
		Panicked:            "The code of the adapter crashed. Report it with the log.",
		"mail/other":        "Sending failed without a code. Set log.downstream_text to see what the provider said.",
		Other:               "The call failed without a code that surgegate knows. Look into the downstream's log, or set log.downstream_text to see what it said.",
	}
}

// Meaning says in one or two sentences what a code of a downstream (store, mail, revoker, hash_pool) means and what to
// do about it. It holds nothing from outside.
func Meaning(downstream, code string) string {
	all := meanings()
	for n := len(code); n > 0; n-- {
		for _, key := range []string{downstream + "/" + code[:n], code[:n]} {
			if text, ok := all[key]; ok {
				return text
			}
		}
	}
	if text, ok := all[downstream+"/"+Other]; ok {
		return text
	}
	return all[Other]
}

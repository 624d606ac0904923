package config

import "github.com/surgegate/surgegate/pkg/admission"

// Config is the whole configuration. What is tagged hot can be changed by a reload (Diff). Field order is the order of `surgegate check --explain`.
type Config struct {
	Role      string    `yaml:"role" doc:"Which half this process runs: all, front or worker. The embedded queue lives in one process, so it needs all."`
	DataDir   string    `yaml:"data_dir" doc:"Folder of the queue, and of the default store and maildir. Made if absent."`
	KeysDir   string    `yaml:"keys_dir" doc:"Folder of the keys. Never inside data_dir: a backup of both opens every pending password."`
	Insecure  bool      `yaml:"insecure" doc:"Allow listening off loopback without TLS. Warned about at every start."`
	Listen    Listen    `yaml:"listen"`
	TLS       TLS       `yaml:"tls"`
	Trust     Trust     `yaml:"trust"`
	Operator  Operator  `yaml:"operator"`
	Server    Server    `yaml:"server"`
	Queue     Queue     `yaml:"queue"`
	Store     Store     `yaml:"store"`
	Mail      Mail      `yaml:"mail"`
	Lanes     Lanes     `yaml:"lanes"`
	Admission Admission `yaml:"admission"`
	Brownout  Brownout  `yaml:"brownout"`
	Password  Password  `yaml:"password"`
	Hash      Hash      `yaml:"hash"`
	Token     Token     `yaml:"token"`
	Reset     Reset     `yaml:"reset"`
	Log       Log       `yaml:"log"`
	Trace     Trace     `yaml:"trace"`
	Shutdown  Shutdown  `yaml:"shutdown"`
}

// Listen is where the process listens.
type Listen struct {
	GRPC     string `yaml:"grpc" doc:"host:port of the public API, for front ends."`
	Operator string `yaml:"operator" doc:"host:port of the operator API; never the public one."`
	HTTP     string `yaml:"http" doc:"host:port of /metrics, /healthz and /readyz."`
	Pprof    string `yaml:"pprof" doc:"host:port of net/http/pprof, loopback only; empty for off."`
}

// TLS is the public listener's.
type TLS struct {
	Cert     string `yaml:"cert" doc:"PEM file of the certificate chain; read again when it changes. Empty: no TLS, loopback only."`
	Key      string `yaml:"key" doc:"PEM file of the private key."`
	ClientCA string `yaml:"client_ca" doc:"PEM file of the authorities whose client certificates are accepted; needed for trust by certificate."`
}

// Trust says whose word about clients is believed.
type Trust struct {
	Callers []string `yaml:"callers" doc:"Callers whose Client message is believed: DNS or URI names of client certificates; CIDRs for development."`
}

// Operator is the operator listener's protection.
type Operator struct {
	Cert       string `yaml:"cert" doc:"PEM file of the operator listener's certificate chain."`
	Key        string `yaml:"key" doc:"PEM file of its private key."`
	ClientCA   string `yaml:"client_ca" doc:"PEM file of the authorities of operators' client certificates."`
	TokensFile string `yaml:"tokens_file" doc:"File with a line name:token for each operator. Off loopback, client_ca or tokens_file is needed."`
}

// Server bounds what callers can cost.
type Server struct {
	MaxConnections   int      `yaml:"max_connections" doc:"Most connections at once on the public listener."`
	MaxStreams       int      `yaml:"max_streams" doc:"Most calls at once on one connection."`
	MaxConnectionAge Duration `yaml:"max_connection_age" doc:"Connections are closed, gently and jittered by 10 %, at this age, so that load spreads."`
}

// Queue is the durable queue.
type Queue struct {
	Engine        string   `yaml:"engine" doc:"embedded (Pebble, one machine)."`
	MaxBytes      Bytes    `yaml:"max_bytes" doc:"Bytes of waiting jobs at which new work is refused with QUEUE_FULL."`
	DiskReserve   Bytes    `yaml:"disk_reserve" doc:"Free disk below which new work is refused with NOT_DURABLE, so that accepted work can finish."`
	Retention     Duration `yaml:"retention" doc:"How long final tickets stay readable."`
	MaxStartWait  Duration `yaml:"max_start_wait" doc:"A StartReset that would wait longer is refused with QUEUE_FULL."`
	MaxSealedWait Duration `yaml:"max_sealed_wait" doc:"How long a sealed password may wait before its ticket fails with EXPIRED; a completion is accepted only if half of it is enough."`
}

// Store is the credential store: exactly one of SQLite, GRPC and Postgres.
type Store struct {
	SQLite   *SQLite    `yaml:"sqlite"`
	GRPC     *GRPCStore `yaml:"grpc"`
	Postgres *Postgres  `yaml:"postgres"`
	Headroom float64    `yaml:"headroom" hot:"true" doc:"Share of the store's concurrency and rate that is left for its other callers, such as sign-ins; 0 to 0.9."`
	Pace     Pace       `yaml:"pace"`
	Timeout  Duration   `yaml:"timeout" doc:"Deadline of one call to the store."`
}

// SQLite is the embedded store.
type SQLite struct {
	Path   string `yaml:"path" doc:"Database file; empty for store.db in data_dir."`
	Sample bool   `yaml:"sample" doc:"Put a few sample accounts into a new database."`
}

// GRPCStore is a backend that serves surgegate.credstore.v1.
type GRPCStore struct {
	Address  string `yaml:"address" doc:"host:port of the backend."`
	Insecure bool   `yaml:"insecure" doc:"Connect without TLS. Plaintext passwords still go over loopback only."`
	CA       string `yaml:"ca" doc:"PEM file of the backend's authorities; empty for the system's."`
	Cert     string `yaml:"cert" doc:"PEM file of surgegate's client certificate."`
	Key      string `yaml:"key" doc:"PEM file of its private key."`
}

// Postgres is a PostgreSQL database whose schema exists already. Names are taken as written, case included.
type Postgres struct {
	URL            string             `yaml:"url" doc:"postgres://role@host:port/database?sslmode=verify-full&sslrootcert=FILE, without a password. What it leaves out comes from the PG environment."`
	PasswordFile   string             `yaml:"password_file" doc:"File with the role's password, read for each new connection; empty for PGPASSWORD or PGPASSFILE."`
	Insecure       bool               `yaml:"insecure" doc:"Connect off loopback without verifying the server. Warned about at every start."`
	MaxConnections int                `yaml:"max_connections" doc:"Most connections at once, 1 to 1000."`
	MaxBatch       int                `yaml:"max_batch" doc:"Most items in one call, 1 to 4096."`
	LockTimeout    Duration           `yaml:"lock_timeout" doc:"How long to wait for a table that is being altered; rows that others hold are never waited for."`
	HashSchemes    []string           `yaml:"hash_schemes" doc:"PHC ids that the site verifies, best first."`
	Accounts       PostgresAccounts   `yaml:"accounts"`
	Changes        PostgresChanges    `yaml:"changes"`
	Sessions       PostgresSessions   `yaml:"sessions"`
	Statements     PostgresStatements `yaml:"statements"`
}

// PostgresAccounts names the accounts' table and its columns.
type PostgresAccounts struct {
	Schema        string   `yaml:"schema" doc:"Schema of the accounts' table; empty for the role's search_path."`
	Table         string   `yaml:"table" doc:"The accounts' table. Needed unless statements stand for it."`
	ID            string   `yaml:"id" doc:"Column of the account id: text, an integer or a uuid, with a unique index."`
	Identifiers   []string `yaml:"identifiers" doc:"Columns in which what people type is looked for; empty for the address."`
	FoldCase      bool     `yaml:"fold_case" doc:"Compare identifiers by lower(column), which wants an index on that."`
	Address       string   `yaml:"address" doc:"Column of the mail address."`
	Hash          string   `yaml:"hash" doc:"Column of the PHC string, the only one that a reset must be able to write."`
	ShareHash     bool     `yaml:"share_hash" doc:"Read current hashes, so that a reset can refuse the password that has to go."`
	Locale        string   `yaml:"locale" doc:"Column of the BCP 47 language tag; empty for none."`
	NotResettable string   `yaml:"not_resettable" doc:"Boolean column of accounts that sign in elsewhere or are locked; empty for none."`
	PasswordTime  string   `yaml:"password_time" doc:"timestamptz column of the password's last change: a later change of the site's own is kept. Empty for none."`
}

// PostgresChanges names surgegate's own table.
type PostgresChanges struct {
	Schema string `yaml:"schema" doc:"Schema of surgegate's own table; empty for the role's search_path."`
	Table  string `yaml:"table" doc:"surgegate's own table: sequence and id of the last change of each account."`
	Create bool   `yaml:"create" doc:"Make that table at the start if it is missing; the role then needs CREATE in the schema."`
}

// PostgresSessions names the sessions' table.
type PostgresSessions struct {
	Schema    string `yaml:"schema" doc:"Schema of the sessions' table; empty for the role's search_path."`
	Table     string `yaml:"table" doc:"The sessions' table; empty if surgegate is not to end sessions."`
	AccountID string `yaml:"account_id" doc:"Column of the session's account id."`
	Begun     string `yaml:"begun" doc:"timestamptz column of when the session began."`
}

// PostgresStatements stand for what the tables would give. Parameters and result columns are those of the package's doc.
type PostgresStatements struct {
	Lookup    string `yaml:"lookup" doc:"Finds accounts: $1 text[] as typed; n bigint (place in $1), id, address [, locale, hash, not_resettable boolean]."`
	LookupIDs string `yaml:"lookup_ids" doc:"Finds accounts: $1 text[] account ids; columns as for lookup."`
	Lock      string `yaml:"lock" doc:"Locks accounts: $1 text[] account ids; n bigint, account_id [, password_time timestamptz]; FOR NO KEY UPDATE SKIP LOCKED."`
	Set       string `yaml:"set" doc:"Writes passwords: $1 text[] account ids, $2 text[] hashes, $3 timestamptz[] accept times; one row each. Goes with lock."`
	Revoke    string `yaml:"revoke" doc:"Ends sessions: $1 text[] account ids, $2 timestamptz[] moments; nothing, or n bigint, ended bigint."`
	IDs       string `yaml:"ids" doc:"How account ids look where statements stand for the table: text, integer or uuid."`
}

// Pace is how fast a downstream is fed: as it can take, which is found by measuring, unless it is fixed here.
type Pace struct {
	Concurrency int     `yaml:"concurrency" hot:"true" doc:"Calls at once; 0 to find by measuring how many the downstream can take."`
	Min         int     `yaml:"min_concurrency" hot:"true" doc:"Fewest calls at once that measuring may settle on."`
	Max         int     `yaml:"max_concurrency" hot:"true" doc:"Most calls at once that measuring may try; 0 for as many as there are connections, or 1000."`
	Rate        float64 `yaml:"rate" hot:"true" doc:"Most items a second; 0 for no bound."`
	Batch       int     `yaml:"batch" hot:"true" doc:"Most items in one call; 0 for what measuring finds and the downstream takes, or 64 where concurrency fixes it."`
	Floor       float64 `yaml:"floor" doc:"Items a second that ETAs assume before anything was measured."`
}

// Mail is the mail provider: exactly one of Maildir and SMTP.
type Mail struct {
	Maildir     *Maildir        `yaml:"maildir"`
	SMTP        *SMTP           `yaml:"smtp"`
	BaseURL     string          `yaml:"base_url" doc:"Where links lead: {base_url}/complete#token=TOKEN. https, but for loopback."`
	SiteName    string          `yaml:"site_name" doc:"The site's name as people know it; in subject and text."`
	From        string          `yaml:"from" doc:"Sender's address."`
	Pace        Pace            `yaml:"pace"`
	Interactive InteractiveMail `yaml:"interactive"`
	Bulk        BulkMail        `yaml:"bulk"`
	Timeout     Duration        `yaml:"timeout" doc:"Deadline of one hand-off."`
	AccountCap  int             `yaml:"account_per_day" hot:"true" doc:"Most link mails to one account or one recipient in 24 h."`
}

// InteractiveMail is what somebody waits for: the link that he asked for.
type InteractiveMail struct {
	Rate float64 `yaml:"rate" hot:"true" doc:"Most mails a second that people wait for, whoever asks; over it they wait in line. 0 for no bound but mail.pace."`
}

// BulkMail is what nobody waits for: confirmations, and links that replace expired passwords.
type BulkMail struct {
	Rate  float64 `yaml:"rate" hot:"true" doc:"Most mails a second that nobody waits for (confirmations, links that replace an expired password). 0 for no bound but share."`
	Share float64 `yaml:"share" hot:"true" doc:"Share of mail.pace (calls at once, and rate where it is set) that such mails may use, so that a link finds a free call; over 0 to 1."`
}

// Maildir delivers into a folder.
type Maildir struct {
	Path string `yaml:"path" doc:"The maildir; empty for mail in data_dir."`
}

// SMTP delivers to a relay.
type SMTP struct {
	Address      string `yaml:"address" doc:"host:port of the relay."`
	TLS          string `yaml:"tls" doc:"mandatory (STARTTLS or no mail), implicit, opportunistic, or none; the last two on loopback, or with insecure: true."`
	CA           string `yaml:"ca" doc:"PEM file of the relay's authorities; empty for the system's."`
	Username     string `yaml:"username" doc:"User name; empty for no authentication."`
	PasswordFile string `yaml:"password_file" doc:"File with the password."`
	Connections  int    `yaml:"connections" doc:"Connections kept open for reuse."`
}

// Admission is what is let in.
type Admission struct {
	Global     Bucket   `yaml:"global"`
	Client     Bucket   `yaml:"client"`
	Identifier Bucket   `yaml:"identifier"`
	DryRun     []string `yaml:"dry_run" hot:"true" doc:"Rules that are counted but not enforced: global, client, level."`
	MaxKeys    int      `yaml:"max_keys" doc:"Most client ips, and most client ids, remembered; further ones share a bucket."`
}

// Bucket is one token bucket. global is for the calls of all clients together; client for StartReset and for refused
// tokens and passwords of one client, by ip (/32, /64) and by id, each; identifier for the link mails of one
// identifier (over it: a ticket, no mail).
type Bucket struct {
	Rate  admission.Rate `yaml:"rate" hot:"true" doc:"A count and a unit of time: 20000/s, 20/m, 5/h."`
	Burst int            `yaml:"burst" hot:"true" doc:"How many may come at once after a pause."`
}

// Lanes are the shares of lanes that wait for the same downstream.
type Lanes struct {
	Start  Lane `yaml:"start"`
	Mail   Lane `yaml:"mail"`
	Hash   Lane `yaml:"hash"`
	Apply  Lane `yaml:"apply"`
	Revoke Lane `yaml:"revoke"`
}

// Lane is one lane.
type Lane struct {
	Weight float64 `yaml:"weight" hot:"true" doc:"Share of a downstream while other lanes wait for it too, beside theirs; 0.1 to 1000."`
}

// Brownout is from where the gateway degrades, by steps. A list has the values for levels 1, 2, 3 and 4; 0 is never.
type Brownout struct {
	Wait      Duration   `yaml:"wait" hot:"true" doc:"Oldest wait of a person above which the level is at least 1."`
	WaitShare []float64  `yaml:"wait_share" hot:"true" doc:"That wait as a share of what is accepted, for levels 1, 2, 3 and 4; 0 for never."`
	QueueFill []float64  `yaml:"queue_fill" hot:"true" doc:"Queue as a share of queue.max_bytes, for levels 1, 2, 3 and 4."`
	DiskFill  []float64  `yaml:"disk_fill" hot:"true" doc:"Disk as a share of what may be used before queue.disk_reserve, for levels 1, 2, 3 and 4."`
	HeapFill  []float64  `yaml:"heap_fill" hot:"true" doc:"Heap as a share of GOMEMLIMIT, for levels 1, 2, 3 and 4."`
	CPUDelay  []Duration `yaml:"cpu_delay" hot:"true" doc:"How long whatever is ready to run waits for a processor, smoothed over 5s, for levels 1, 2, 3 and 4; 0s for never."`
	Release   float64    `yaml:"release" hot:"true" doc:"A level is left when every signal is under this share of what asks for it; over 0 to 1."`
	Hold      Duration   `yaml:"hold" hot:"true" doc:"How long it must have been calm before the level goes down by one."`
}

// Password is the policy for new passwords.
type Password struct {
	SecondFactor  bool   `yaml:"second_factor" doc:"A second factor is enforced at sign-in: passwords may be 8 characters long instead of 15."`
	BlocklistFile string `yaml:"blocklist_file" doc:"The site's own list of refused passwords, one a line, beside the built-in one."`
	BreachedFile  string `yaml:"breached_file" doc:"Sorted list of SHA-1 hashes of breached passwords (HASH:COUNT lines)."`
}

// Hash is the hash pool.
type Hash struct {
	Memory Bytes `yaml:"memory" doc:"argon2id memory of one hash."`
	Time   int   `yaml:"time" doc:"argon2id passes."`
	Slots  int   `yaml:"slots" doc:"Hashes at once; 0 for cores less one, at least one."`
}

// Token is the reset token.
type Token struct {
	TTL Duration `yaml:"ttl" doc:"How long a link is good, from the hand-off of its mail."`
}

// Reset is the reset's own choices.
type Reset struct {
	Promise Duration `yaml:"promise" doc:"How soon an accepted reset is to be done: what metrics and alerts count as kept. Promises nothing by itself; 1s to 24h."`
	SignOut string   `yaml:"sign_out" doc:"What a completion that does not say does to the account's sessions: everywhere or keep."`
}

// Log is the log.
type Log struct {
	Level  string `yaml:"level" hot:"true" doc:"debug, info, warn or error."`
	Format string `yaml:"format" doc:"text or json."`
	// Decisions are decision.Reasons.
	Decisions []string `yaml:"decisions" doc:"Decisions that are logged with their numbers, at most a line a second for each cause and without names: shed, limited, refused, paced, levelled, parked, breaker. The last three always are."`
	// DownstreamText lets foreign text into the log.
	DownstreamText bool `yaml:"downstream_text" hot:"true" doc:"Log what the store or the mail provider said, beside its code, when a call fails. Such text may quote addresses or other data of people: turn it on to find a fault, then off."`
}

// Trace is where traces go.
type Trace struct {
	Endpoint string  `yaml:"endpoint" doc:"host:port of an OpenTelemetry collector (OTLP over gRPC); empty for no traces."`
	Insecure bool    `yaml:"insecure" doc:"Connect to the collector without TLS. Spans hold no names, but whoever listens learns how the gateway fares."`
	CA       string  `yaml:"ca" doc:"PEM file of the collector's authorities; empty for the system's."`
	Sample   float64 `yaml:"sample" doc:"Share of the calls whose trace is kept, 0 to 1; a trusted caller's traceparent decides for its own calls."`
}

// Shutdown is the end.
type Shutdown struct {
	Grace Duration `yaml:"grace" doc:"After SIGTERM, how long calls under way may take before the process ends."`
}

package doctor

// The checks, in the order of a report.
const (
	redisResolve      = "redis.resolve"
	redisConnect      = "redis.connect"
	redisTLS          = "redis.tls"
	redisAuthenticate = "redis.authenticate"
	redisPing         = "redis.ping"
	redisRights       = "redis.rights"
	redisData         = "redis.data"
	redisWrite        = "redis.write"
	redisVersion      = "redis.version"
	redisRole         = "redis.role"
	redisReplication  = "redis.replication"
	redisPersistence  = "redis.persistence"
	redisEviction     = "redis.eviction"
	redisMemory       = "redis.memory"
	redisFragments    = "redis.fragmentation"
	redisSlowLog      = "redis.slowlog"
	redisLatency      = "redis.latency"
	redisClock        = "redis.clock"
	redisClients      = "redis.clients"
	redisKeys         = "redis.keys"
	serverReachable   = "server.reachable"
	serverHealth      = "server.health"
	serverVersion     = "server.version"
	serverBackups     = "server.backups"
	serverAccess      = "server.access"
	dataFolder        = "data.folder"
	dataSpace         = "data.space"
	dataSync          = "data.sync"
	journalSize       = "journal.size"
	journalAge        = "journal.age"
	workSessions      = "work.sessions"
	workStuck         = "work.stuck"
	workQueues        = "work.queues"
	workVersions      = "work.versions"
	llmReachable      = "llm.reachable"
)

var redisChecks = []string{redisResolve, redisConnect, redisTLS, redisAuthenticate, redisPing, redisRights, redisData, redisWrite,
	redisVersion, redisRole, redisReplication, redisPersistence, redisEviction, redisMemory, redisFragments, redisSlowLog, redisLatency,
	redisClock, redisClients, redisKeys}

// Names are the names of all checks, in the order of a report.
func Names() []string {
	return append(append([]string{}, redisChecks...), serverReachable, serverHealth, serverVersion, serverBackups, serverAccess,
		dataFolder, dataSpace, dataSync, journalSize, journalAge, workSessions, workStuck, workQueues, workVersions, llmReachable)
}

// meanings say what each check is about, for findings that have nothing worse to
// say.
var meanings = map[string]string{
	redisResolve:      "the host of the address has to have an address in the network",
	redisConnect:      "something has to accept connections at the address",
	redisTLS:          "the two ends have to trust each other where the connection is encrypted",
	redisAuthenticate: "user and password have to be those of the Redis server",
	redisPing:         "Redis has to answer",
	redisRights:       "the user needs every command that a server sends, and its keys",
	redisData:         "what is there has to be of this version and of as many partitions as the address says",
	redisWrite:        "Redis has to take writes, on the path that every task takes",
	redisVersion:      "Redis has to be 6.2 or newer, or Valkey",
	redisRole:         "only a primary takes writes",
	redisReplication:  "what a replica lacks is lost when it takes over",
	redisPersistence:  "what is not on Redis's disk is gone when it restarts",
	redisEviction:     "a Redis that evicts loses tasks without an error",
	redisMemory:       "a Redis whose memory is full refuses tasks",
	redisFragments:    "memory that is lost to fragments is not there for tasks",
	redisSlowLog:      "while Redis is busy with a slow command, everything else waits",
	redisLatency:      "every task costs some round trips; 200 ms without an answer look like an outage",
	redisClock:        "due times follow the clocks of the servers",
	redisClients:      "a server needs a few connections",
	redisKeys:         "what grows without an end fills the memory",
	serverReachable:   "commands and clients have to reach the server",
	serverHealth:      "the server has to accept tasks",
	serverVersion:     "commands and server should be of one version",
	serverBackups:     "without a backup, what a disk or a mistake destroys is gone",
	serverAccess:      "who can reach a server without tokens may do everything",
	dataFolder:        "tasks and the journal live in the data folder",
	dataSpace:         "a full disk takes no tasks",
	dataSync:          "a task is acknowledged when the disk has confirmed it",
	journalSize:       "a journal at its limit takes no tasks",
	journalAge:        "what only a journal holds is lost with its disk",
	workSessions:      "tasks of a worker that is gone wait until the others notice",
	workStuck:         "a task that runs for longer than it may is not ended by anybody",
	workQueues:        "tasks without a worker wait for ever",
	workVersions:      "servers of one fleet should be of one version",
	llmReachable:      "tasks that ask a model need its endpoint",
}

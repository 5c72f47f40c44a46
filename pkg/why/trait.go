package why

// A trait is what follows from a code.
type trait struct {
	code   Code
	health Health
	alarm  bool
	blocks bool
	what   string
	advice string
}

// traits lists the codes, the most urgent first.
func traits() []trait {
	const stop, quiet = true, false
	return []trait{
		{NoWorker, HealthBlocked, true, quiet, "no live worker says that it has the partition", "start a connector-worker, or find out why those that run do not get the partition: 'extsync workers'"},
		{StreamGone, HealthBlocked, true, stop, "the channel's stream is gone, and what was in it", "'extsync doctor --fix' makes it again, empty: see what was lost in docs/operations.md, 'A stream that is gone'"},
		{SecretMissing, HealthBlocked, true, stop, "a worker cannot resolve a secret of the channel", "give that worker the secret: a file is read again by itself, its environment only when it is restarted"},
		{NotAllowed, HealthBlocked, true, stop, "the settings of a worker do not let the channel have what it asks for", "allow it in the setting of that worker that the message names, and restart it; or ask for what is allowed"},
		{ConnectorFailed, HealthBlocked, true, stop, "a worker cannot open the channel's connector", "correct the channel's configuration and apply it, or what the message names at that worker"},
		{CredentialsRefused, HealthBlocked, true, stop, "the target does not let the channel's credentials in", "correct the channel's credentials, or what they may do at the target"},
		{Misconfigured, HealthBlocked, true, stop, "the target lacks what somebody must put right, such as a table", "put right at the target, or in the channel's configuration, what the message names"},
		{TargetRefuses, HealthBlocked, true, stop, "the target has refused twenty updates in a row and taken none", "compare an update with what the target expects: 'extsync channels test'"},
		{TakeoverFailed, HealthBlocked, true, quiet, "the worker that has the partition cannot begin with it", "look at that worker's log; see that the broker is well and lets the worker do what its role needs: 'extsync doctor --role worker'"},
		{NoProgress, HealthBlocked, true, quiet, "the worker that has the partition has something to do, and settles nothing", "look at that worker's log and at the target; a connector that hangs ends with the channel's timeout"},
		{BrokerRefuses, HealthBlocked, true, quiet, "the broker does not take dead letters, acks or ledger records", "see that the broker is well and has room: 'extsync doctor'"},
		{QuotaFull, HealthBlocked, true, quiet, "the channel has used up its part of the ledger, of the dead letters or of the parked updates", "raise the quota that the message names in the channel's configuration and apply it; of dead letters, replay or discard some: 'extsync dead'"},
		{ChannelFull, HealthOK, false, quiet, "the channel's stream is so full that publishers refuse new keys; what it has taken is delivered", "raise max_bytes in the configuration of the channel, or of the topic that it reads, and apply it; or see why old keys are kept: 'extsync doctor'"},
		{CircuitOpen, HealthDown, true, quiet, "the target fails or does not answer, for every key that was tried", "see that the target runs and can be reached; deliveries go on by themselves"},
		{Conflict, HealthDead, false, quiet, "the target, or the ledger, has the newest version with other content", "find out who wrote it: 'extsync dead show LETTER'; then publish a newer version, or 'extsync dead replay LETTER'"},
		{MappingFailed, HealthDead, false, quiet, "the newest version was given up: the channel's filter, mapping or render fails on it", "correct it, and see what it makes of the update: 'extsync channels test'; then 'extsync dead replay LETTER'"},
		{Malformed, HealthDead, false, quiet, "the newest message of the key is no update, and was given up", "correct who publishes it, by docs/contract.md, and publish the key again"},
		{DeadLettered, HealthDead, false, quiet, "the newest version was given up", "see what the target answered: 'extsync dead show LETTER'; put it right, then 'extsync dead replay LETTER'"},
		{RateLimited, HealthRetrying, false, quiet, "the target has asked to wait", "nothing, or ask the target's owner for a higher limit; 'extsync channels probe CHANNEL' ends the wait"},
		{Suspect, HealthRetrying, false, quiet, "the target refuses this key as it would a wrong login or a missing table, and others get through", "see what the target answers, and what is special about the key: 'extsync get KEY'"},
		{TargetError, HealthRetrying, false, quiet, "the newest version has failed and waits for its next attempt", "see what the target answers: 'extsync tail CHANNEL --failing'"},
		{Unready, HealthRetrying, false, quiet, "the target cannot take the newest version yet: what it refers to is not there, or another request is in the way", "wait, or bring what the updates need to the target; after retry.unready_for they are dead letters that say what it was"},
		{Parked, HealthParked, false, quiet, "the key keeps failing and was moved out of the way of the others; it is tried on", "see what the target answers: 'extsync tail CHANNEL --failing'"},
		{ReloadFailed, HealthOK, false, quiet, "a worker cannot open the connector anew with secrets that have changed, and goes on with the one that is open", "correct what the message names at that worker: the secrets that it has read anew are not used yet"},
		{TakingOver, HealthOK, false, quiet, "a worker has just got the partition and is about to begin", "wait a moment"},
		{Opening, HealthOK, false, quiet, "a worker opens the channel's connector", "wait a moment"},
		{Changing, HealthOK, false, quiet, "the channel's partitions are being changed", "wait; if it takes longer than a minute, see that a worker runs and apply the channel again"},
		{Filling, HealthOK, false, quiet, "the channel is new, or takes more keys than before, and gets what its topic had then; what is published goes first", "wait; 'extsync resync CHANNEL --follow' shows how far it is"},
		{Pending, HealthOK, false, quiet, "the newest version lies at the broker, and its turn has not come", "wait; if it takes long, more comes in than the target takes: 'extsync status CHANNEL'"},
		{Superseded, HealthOK, false, quiet, "a newer version has overtaken it, and has no outcome yet", "wait for the newer version: 'extsync get KEY' says how it stands"},
		{TargetNewer, HealthOK, false, quiet, "the target has said that it holds a newer version than the newest that was published", "find out who writes to the target besides extsync; a version that is newer than the target's goes through"},
		{Paused, HealthPaused, false, quiet, "somebody has paused the channel", "'extsync channels resume CHANNEL' lets deliveries go on"},
		{MappingChanged, HealthOK, false, quiet, "an older configuration of the channel has made what the target holds", "in a channel of mode latest, 'extsync resync CHANNEL' brings every key to the target as the configuration of now makes it; in one of mode every, publish newer versions of the keys"},
		{Deleted, HealthPaused, false, quiet, "somebody has deleted the channel", "'extsync channels restore CHANNEL' brings the channel back"},
	}
}

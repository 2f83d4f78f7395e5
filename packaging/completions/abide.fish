# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_abide_global_optspecs
    string join \n o/output= config-dir= state-dir= spool-dir= run-dir= h/help V/version
end

function __fish_abide_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_abide_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_abide_using_subcommand
    set -l cmd (__fish_abide_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c abide -n "__fish_abide_needs_command" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_needs_command" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_needs_command" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_needs_command" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_needs_command" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_needs_command" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_needs_command" -f -a "status" -d 'Shows revision, signer, sync, health, what differs, the last and the next poll'
complete -c abide -n "__fish_abide_needs_command" -f -a "diff" -d 'Shows what a run would change, as unified diffs'
complete -c abide -n "__fish_abide_needs_command" -f -a "sync" -d 'Fetches, proves, plans and applies, now'
complete -c abide -n "__fish_abide_needs_command" -f -a "history" -d 'Lists the generations, newest first; or the runs, or one run with everything it did'
complete -c abide -n "__fish_abide_needs_command" -f -a "events" -d 'Lists what happened, oldest first; with `--follow` goes on until it is interrupted'
complete -c abide -n "__fish_abide_needs_command" -f -a "trace" -d 'Names the commit, the signer, the file and line that declared a thing, when it was applied, and what it replaced'
complete -c abide -n "__fish_abide_needs_command" -f -a "tree" -d 'Shows the roles of this host with their resources and health checks, and which of them are not as they should be'
complete -c abide -n "__fish_abide_needs_command" -f -a "verify" -d 'Explains why a revision is or is not accepted: which rule, which principals, which scopes'
complete -c abide -n "__fish_abide_needs_command" -f -a "approve" -d 'Shows what waits for approvals on the branch, and signs an approval with the key that Git signs with'
complete -c abide -n "__fish_abide_needs_command" -f -a "heartbeat" -d 'Makes a heartbeat: a signed statement of where the branch is, for hosts that want to know whether they see its newest state'
complete -c abide -n "__fish_abide_needs_command" -f -a "trust" -d 'Shows whom a host or a fleet trusts, and changes it'
complete -c abide -n "__fish_abide_needs_command" -f -a "rollback" -d 'Returns to an earlier generation, and keeps it until a newer commit arrives or `abide resume`'
complete -c abide -n "__fish_abide_needs_command" -f -a "suspend" -d 'Pauses applying; fetching and verifying go on'
complete -c abide -n "__fish_abide_needs_command" -f -a "resume" -d 'Ends a pause, or the keeping of an earlier generation'
complete -c abide -n "__fish_abide_needs_command" -f -a "check" -d 'Check a fleet\'s repository for every host it knows, without root and without a host'
complete -c abide -n "__fish_abide_needs_command" -f -a "build" -d 'Render what a host would get, without root and without the host'
complete -c abide -n "__fish_abide_needs_command" -f -a "facts" -d 'Print the facts of this host as JSON'
complete -c abide -n "__fish_abide_needs_command" -f -a "init" -d 'Starts a fleet: makes a repository with a first role, a policy that trusts your key, and a signed introduction'
complete -c abide -n "__fish_abide_needs_command" -f -a "enroll" -d 'Writes the root of trust, proves it against the remote, shows what the first run would change, and starts the agent'
complete -c abide -n "__fish_abide_needs_command" -f -a "agent" -d 'Runs the service that polls, checks and heals; started by abide.service'
complete -c abide -n "__fish_abide_needs_command" -f -a "fetch" -d 'Polls the remotes once; run by abide-fetch.service, as its user'
complete -c abide -n "__fish_abide_needs_command" -f -a "guard" -d 'Returns to this version of abide unless the one that is installed works; started by abide-guard.service'
complete -c abide -n "__fish_abide_needs_command" -f -a "probe" -d 'Answers questions from standard input on standard output; run by abide in a unit of its own'
complete -c abide -n "__fish_abide_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c abide -n "__fish_abide_using_subcommand status" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand status" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand status" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand status" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand status" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand status" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand diff" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand diff" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand diff" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand diff" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand diff" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand diff" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand sync" -l only -d 'Only these resources, as `kind:name`' -r
complete -c abide -n "__fish_abide_using_subcommand sync" -l leave -d 'Report these and leave them as they are; set by the agent while somebody keeps changing them back' -r
complete -c abide -n "__fish_abide_using_subcommand sync" -l cause -d 'Why the run is made; set by the agent' -r
complete -c abide -n "__fish_abide_using_subcommand sync" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand sync" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand sync" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand sync" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand sync" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand sync" -l dry-run -d 'Poll, and show what would change; change nothing'
complete -c abide -n "__fish_abide_using_subcommand sync" -l wait -d 'Let the agent do it, and wait for the result'
complete -c abide -n "__fish_abide_using_subcommand sync" -l no-fetch -d 'Do not poll first'
complete -c abide -n "__fish_abide_using_subcommand sync" -l prune -d 'Remove what left the branch, even if it is more than the settings allow in one run'
complete -c abide -n "__fish_abide_using_subcommand sync" -l all-changes -d 'Take a new revision, even if it changes more of what is in force than the settings allow'
complete -c abide -n "__fish_abide_using_subcommand sync" -l ignore-windows -d 'Do not wait for windows to open'
complete -c abide -n "__fish_abide_using_subcommand sync" -l ignore-suspension -d 'Apply this once although applying is suspended; the suspension stays'
complete -c abide -n "__fish_abide_using_subcommand sync" -l rehash -d 'Read every file\'s content again, instead of trusting fingerprints'
complete -c abide -n "__fish_abide_using_subcommand sync" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand sync" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand history" -l run -d 'Number of a run, to see what it did' -r
complete -c abide -n "__fish_abide_using_subcommand history" -s n -l limit -d 'How many to list' -r
complete -c abide -n "__fish_abide_using_subcommand history" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand history" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand history" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand history" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand history" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand history" -l runs -d 'List the runs that changed something, failed, or brought a new revision'
complete -c abide -n "__fish_abide_using_subcommand history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand history" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand events" -s n -l limit -d 'How many events to list' -r
complete -c abide -n "__fish_abide_using_subcommand events" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand events" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand events" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand events" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand events" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand events" -s f -l follow -d 'Wait for more'
complete -c abide -n "__fish_abide_using_subcommand events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand events" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand trace" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand trace" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trace" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trace" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trace" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trace" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand trace" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand tree" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand tree" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand tree" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand tree" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand tree" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand tree" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand tree" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand verify" -l repo -d 'Look into this repository instead of the host\'s store' -r -F
complete -c abide -n "__fish_abide_using_subcommand verify" -l root -d 'The root of trust, as in /etc/abide/trust.toml' -r -F
complete -c abide -n "__fish_abide_using_subcommand verify" -l introduction -d 'The commit that trust starts from, with `--repo`; without it, `git config abide.introduction`' -r
complete -c abide -n "__fish_abide_using_subcommand verify" -l key -d 'The key that signed the introduction, or its fingerprint; without it, `git config abide.key`' -r
complete -c abide -n "__fish_abide_using_subcommand verify" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand verify" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand verify" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand verify" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand verify" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand verify" -l explain -d 'Say of each commit which clause of the rule (docs/SECURITY.md) let it in, who and what counted, and what is still needed'
complete -c abide -n "__fish_abide_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand verify" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand approve" -l repo -d 'The repository' -r -F
complete -c abide -n "__fish_abide_using_subcommand approve" -l tag -d 'Sign a tag instead of a commit; without a name it is called after commit and signer' -r
complete -c abide -n "__fish_abide_using_subcommand approve" -l root -d 'The root of trust, as in /etc/abide/trust.toml' -r -F
complete -c abide -n "__fish_abide_using_subcommand approve" -l introduction -d 'The commit that trust starts from; without it, `git config abide.introduction`' -r
complete -c abide -n "__fish_abide_using_subcommand approve" -l key -d 'The key that signed the introduction, or its fingerprint; without it, `git config abide.key`' -r
complete -c abide -n "__fish_abide_using_subcommand approve" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand approve" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand approve" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand approve" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand approve" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand approve" -l stat -d 'Show how many lines change in which file instead of the lines'
complete -c abide -n "__fish_abide_using_subcommand approve" -s n -l dry-run -d 'Show, and sign nothing'
complete -c abide -n "__fish_abide_using_subcommand approve" -l yes -d 'Do not ask'
complete -c abide -n "__fish_abide_using_subcommand approve" -l push -d 'Push it'
complete -c abide -n "__fish_abide_using_subcommand approve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand approve" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -l repo -d 'The repository' -r -F
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -l key -d 'The key that signs: a file, or `agent` for the heartbeat key that ssh-agent holds' -r
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -l valid -d 'How long it counts; hosts may have a shorter `max-age`' -r
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -l push -d 'Push it to this remote, over the heartbeat that is there' -r
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -l root -d 'The root of trust, as in /etc/abide/trust.toml' -r -F
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -l introduction -d 'The commit that trust starts from; without it, `git config abide.introduction`' -r
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -l introduction-key -d 'The key that signed the introduction, or its fingerprint; without it, `git config abide.key`' -r
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand heartbeat" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -f -a "show" -d 'Shows whom this host trusts: its root of trust and the policy in force'
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -f -a "add-principal" -d 'Adds a principal to the policy in the work tree'
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -f -a "rotate" -d 'Gives a principal a new key in the policy in the work tree, and takes an old one away'
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -f -a "confirm" -d 'Confirms, on a host that has lost its state, the commit at which it stands'
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -f -a "break-glass" -d 'Moves this host to a commit, as a statement says that is signed with a break-glass key of its root of trust'
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -f -a "reset-clock" -d 'Believes the clock of this host as it is, after it was wrong'
complete -c abide -n "__fish_abide_using_subcommand trust; and not __fish_seen_subcommand_from show add-principal rotate confirm break-glass reset-clock help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from show" -l repo -d 'Show the policy in force in this repository instead of the host\'s' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from show" -l root -d 'With --repo: the root of trust, as in /etc/abide/trust.toml' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from show" -l introduction -d 'With --repo: the commit that trust starts from; without it, `git config abide.introduction`' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from show" -l key -d 'With --repo: the key that signed it, or its fingerprint; without it, `git config abide.key`' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from show" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from show" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from show" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from show" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from show" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -l key -d 'The public key: a file, or the key itself' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -l openpgp -d 'An OpenPGP key instead: what `gpg --export KEY` printed, as a file' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -l fingerprint -d 'Which key of the export signs, where it holds several' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -l scope -d 'A scope in which the principal may sign; may be given several times' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -l not-after -d 'The last day or moment at which the key counts' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -l repo -d 'The folder of the fleet' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from add-principal" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -l key -d 'The new public key: a file, or the key itself' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -l openpgp -d 'A new OpenPGP key instead: what `gpg --export KEY` printed, as a file' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -l fingerprint -d 'Which key of the export signs, where it holds several' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -l remove -d 'The key to take away: its fingerprint, a file, or the key itself' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -l not-after -d 'The last day or moment at which the new key counts' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -l repo -d 'The folder of the fleet' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from rotate" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from confirm" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from confirm" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from confirm" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from confirm" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from confirm" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from confirm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from confirm" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -l host -d 'The host\'s id, as `abide trust show` prints it there' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -l fleet -d 'The fleet\'s identity, from its `trust.toml`' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -l commit -d 'The whole name of the commit to move to' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -l key -d 'The key to sign with: its file, as for `ssh-keygen -Y sign -f`' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -l for -d 'How long the statement counts, at most 7 days' -r
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -l make -d 'Make a statement and print it, instead of using one'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from break-glass" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from reset-clock" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from reset-clock" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from reset-clock" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from reset-clock" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from reset-clock" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from reset-clock" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from reset-clock" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from help" -f -a "show" -d 'Shows whom this host trusts: its root of trust and the policy in force'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from help" -f -a "add-principal" -d 'Adds a principal to the policy in the work tree'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from help" -f -a "rotate" -d 'Gives a principal a new key in the policy in the work tree, and takes an old one away'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from help" -f -a "confirm" -d 'Confirms, on a host that has lost its state, the commit at which it stands'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from help" -f -a "break-glass" -d 'Moves this host to a commit, as a statement says that is signed with a break-glass key of its root of trust'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from help" -f -a "reset-clock" -d 'Believes the clock of this host as it is, after it was wrong'
complete -c abide -n "__fish_abide_using_subcommand trust; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c abide -n "__fish_abide_using_subcommand rollback" -s r -l reason -d 'Why; shown in the status and the journal' -r
complete -c abide -n "__fish_abide_using_subcommand rollback" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand rollback" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand rollback" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand rollback" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand rollback" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand rollback" -l dry-run -d 'Show what would change; change nothing'
complete -c abide -n "__fish_abide_using_subcommand rollback" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand rollback" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand suspend" -s r -l reason -d 'Why; shown in the status and the journal' -r
complete -c abide -n "__fish_abide_using_subcommand suspend" -l for -d 'Ends by itself after this time, such as `30m`, `2h`, `1d`' -r
complete -c abide -n "__fish_abide_using_subcommand suspend" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand suspend" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand suspend" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand suspend" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand suspend" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand suspend" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand suspend" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand resume" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand resume" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand resume" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand resume" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand resume" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand resume" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand check" -l facts -d 'Facts to use for every host, as `abide facts` printed them' -r -F
complete -c abide -n "__fish_abide_using_subcommand check" -l family -d 'Families of example hosts' -r -f -a "debian\t'Debian 12'
rhel\t'Rocky Linux 9'"
complete -c abide -n "__fish_abide_using_subcommand check" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand check" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand check" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand check" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand check" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand check" -l strict -d 'Fail on warnings too'
complete -c abide -n "__fish_abide_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand check" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand build" -l host -d 'Name of the host' -r
complete -c abide -n "__fish_abide_using_subcommand build" -l label -d 'Labels from the host\'s own settings' -r
complete -c abide -n "__fish_abide_using_subcommand build" -l facts -d 'Facts as `abide facts` printed them on the host' -r -F
complete -c abide -n "__fish_abide_using_subcommand build" -l family -d 'Family of the example host when there are no recorded facts' -r -f -a "debian\t'Debian 12'
rhel\t'Rocky Linux 9'"
complete -c abide -n "__fish_abide_using_subcommand build" -l show -d 'Print the content of one resource\'s files' -r
complete -c abide -n "__fish_abide_using_subcommand build" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand build" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand build" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand build" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand build" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand build" -l explain -d 'Tell which assignments match, where roles come from, and where each variable was set'
complete -c abide -n "__fish_abide_using_subcommand build" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand build" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand facts" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand facts" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand facts" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand facts" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand facts" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand facts" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand facts" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand init" -l new-key -d 'Make a new Ed25519 key at this path and sign with it, instead of the key that Git is set to sign with' -r -F
complete -c abide -n "__fish_abide_using_subcommand init" -l principal -d 'Your name in the policy; without it, the first part of your address' -r
complete -c abide -n "__fish_abide_using_subcommand init" -l name -d 'The fleet\'s name for people; without it, the folder\'s' -r
complete -c abide -n "__fish_abide_using_subcommand init" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand init" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand init" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand init" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand init" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand init" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand enroll" -l introduction -d 'The whole id of the commit that trust starts from' -r
complete -c abide -n "__fish_abide_using_subcommand enroll" -l key -d 'The key that signed it: its fingerprint, or the public key' -r
complete -c abide -n "__fish_abide_using_subcommand enroll" -l ref -d 'The ref to follow' -r
complete -c abide -n "__fish_abide_using_subcommand enroll" -l max-age -d 'Apply only what a heartbeat names that is not older than this, such as `24h`' -r
complete -c abide -n "__fish_abide_using_subcommand enroll" -l break-glass -d 'A public key that may break the glass on this host; may be given several times' -r
complete -c abide -n "__fish_abide_using_subcommand enroll" -l fleet -d 'The fleet\'s identity, from trust.toml in the repository' -r
complete -c abide -n "__fish_abide_using_subcommand enroll" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand enroll" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand enroll" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand enroll" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand enroll" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand enroll" -l yes -d 'Do not ask'
complete -c abide -n "__fish_abide_using_subcommand enroll" -l print -d 'Print the two files for an image, and change nothing; needs --fleet'
complete -c abide -n "__fish_abide_using_subcommand enroll" -l check -d 'Say what is wrong with a host that is enrolled'
complete -c abide -n "__fish_abide_using_subcommand enroll" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand enroll" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand agent" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand agent" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand agent" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand agent" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand agent" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand agent" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand agent" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand fetch" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand fetch" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand fetch" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand fetch" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand fetch" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand fetch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand fetch" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand guard" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand guard" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand guard" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand guard" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand guard" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand guard" -l arm -d 'Start the guard: another version is about to be installed'
complete -c abide -n "__fish_abide_using_subcommand guard" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand guard" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand probe" -s o -l output -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c abide -n "__fish_abide_using_subcommand probe" -l config-dir -d 'Settings folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand probe" -l state-dir -d 'State folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand probe" -l spool-dir -d 'Spool folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand probe" -l run-dir -d 'Runtime folder' -r -F
complete -c abide -n "__fish_abide_using_subcommand probe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c abide -n "__fish_abide_using_subcommand probe" -s V -l version -d 'Print version'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "status" -d 'Shows revision, signer, sync, health, what differs, the last and the next poll'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "diff" -d 'Shows what a run would change, as unified diffs'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "sync" -d 'Fetches, proves, plans and applies, now'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "history" -d 'Lists the generations, newest first; or the runs, or one run with everything it did'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "events" -d 'Lists what happened, oldest first; with `--follow` goes on until it is interrupted'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "trace" -d 'Names the commit, the signer, the file and line that declared a thing, when it was applied, and what it replaced'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "tree" -d 'Shows the roles of this host with their resources and health checks, and which of them are not as they should be'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "verify" -d 'Explains why a revision is or is not accepted: which rule, which principals, which scopes'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "approve" -d 'Shows what waits for approvals on the branch, and signs an approval with the key that Git signs with'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "heartbeat" -d 'Makes a heartbeat: a signed statement of where the branch is, for hosts that want to know whether they see its newest state'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "trust" -d 'Shows whom a host or a fleet trusts, and changes it'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "rollback" -d 'Returns to an earlier generation, and keeps it until a newer commit arrives or `abide resume`'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "suspend" -d 'Pauses applying; fetching and verifying go on'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "resume" -d 'Ends a pause, or the keeping of an earlier generation'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "check" -d 'Check a fleet\'s repository for every host it knows, without root and without a host'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "build" -d 'Render what a host would get, without root and without the host'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "facts" -d 'Print the facts of this host as JSON'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "init" -d 'Starts a fleet: makes a repository with a first role, a policy that trusts your key, and a signed introduction'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "enroll" -d 'Writes the root of trust, proves it against the remote, shows what the first run would change, and starts the agent'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "agent" -d 'Runs the service that polls, checks and heals; started by abide.service'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "fetch" -d 'Polls the remotes once; run by abide-fetch.service, as its user'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "guard" -d 'Returns to this version of abide unless the one that is installed works; started by abide-guard.service'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "probe" -d 'Answers questions from standard input on standard output; run by abide in a unit of its own'
complete -c abide -n "__fish_abide_using_subcommand help; and not __fish_seen_subcommand_from status diff sync history events trace tree verify approve heartbeat trust rollback suspend resume check build facts init enroll agent fetch guard probe help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c abide -n "__fish_abide_using_subcommand help; and __fish_seen_subcommand_from trust" -f -a "show" -d 'Shows whom this host trusts: its root of trust and the policy in force'
complete -c abide -n "__fish_abide_using_subcommand help; and __fish_seen_subcommand_from trust" -f -a "add-principal" -d 'Adds a principal to the policy in the work tree'
complete -c abide -n "__fish_abide_using_subcommand help; and __fish_seen_subcommand_from trust" -f -a "rotate" -d 'Gives a principal a new key in the policy in the work tree, and takes an old one away'
complete -c abide -n "__fish_abide_using_subcommand help; and __fish_seen_subcommand_from trust" -f -a "confirm" -d 'Confirms, on a host that has lost its state, the commit at which it stands'
complete -c abide -n "__fish_abide_using_subcommand help; and __fish_seen_subcommand_from trust" -f -a "break-glass" -d 'Moves this host to a commit, as a statement says that is signed with a break-glass key of its root of trust'
complete -c abide -n "__fish_abide_using_subcommand help; and __fish_seen_subcommand_from trust" -f -a "reset-clock" -d 'Believes the clock of this host as it is, after it was wrong'

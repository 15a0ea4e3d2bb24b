<?php
/**
 * What CRMs on PHP's imap extension do at their listener, each with the string that it opens.
 *
 *   php crm.php vtiger|suitecrm|dolibarr HOST PORT USER PASSWORD
 *
 * Prints one JSON document: what failed, what the library had to complain of after each step (imap_errors() and
 * imap_alerts()), and for suitecrm how long three wrong passwords took.
 */

error_reporting(E_ALL);
date_default_timezone_set('UTC');
[, $crm, $host, $port, $user, $password] = $argv;
// So that a test is over in time, whatever happens; SuiteCRM sets 5 seconds for all three.
foreach ([IMAP_OPENTIMEOUT, IMAP_READTIMEOUT, IMAP_WRITETIMEOUT] as $timeout) {
    imap_timeout($timeout, 5);
}
$complaints = [];
$failed = [];
$warnings = [];
set_error_handler(function (int $level, string $text) use (&$warnings): bool {
    $warnings[] = $text;
    return true;
});

/** Notes whether a step came to something, and what the library says of it. */
function step(string $name, mixed $result): mixed
{
    global $complaints, $failed;
    if ($result === false) {
        $failed[] = $name;
    }
    foreach (array_merge(imap_errors() ?: [], imap_alerts() ?: []) as $text) {
        $complaints[] = "$name: $text";
    }
    return $result;
}

$specs = [
    'vtiger' => "{{$host}:$port/imap/notls/novalidate-cert}",
    'suitecrm' => "{{$host}:$port/notls/novalidate-cert/secure}",
    'dolibarr' => "{{$host}:$port/imap/notls}",
];
$server = $specs[$crm];
$seconds = null;
if ($crm === 'suitecrm') {
    $began = microtime(true);
    $refused = imap_open($server . 'INBOX', $user, 'wrong', 0, 3);
    $seconds = microtime(true) - $began;
    if ($refused !== false) {
        $failed[] = 'a wrong password is refused';
    }
    // What is said of a wrong password is right to be said.
    imap_errors();
    imap_alerts();
    $warnings = [];
}

$options = $crm === 'vtiger' ? ['DISABLE_AUTHENTICATOR' => 'GSSAPI'] : [];
$box = step('open', imap_open($server . 'INBOX', $user, $password, 0, 1, $options));
if ($box === false) {
    echo json_encode(compact('failed', 'complaints', 'warnings', 'seconds')), "\n";
    exit(0);
}
$names = step('list', imap_list($box, $server, '*'));
step('subscribed', imap_lsub($box, $server, '*'));
step('status', imap_status($box, $server . 'Sent', SA_ALL));
step('status of the selected one', imap_status($box, $server . 'INBOX', SA_UNSEEN));
$count = step('count', imap_num_msg($box));
step('overview', imap_fetch_overview($box, "1:$count"));
$structure = step('structure', imap_fetchstructure($box, 3));
step('header', imap_fetchheader($box, 3));
step('part', imap_fetchbody($box, 3, '1', FT_PEEK));
step('body', imap_body($box, 2, FT_PEEK));
step('seen', imap_setflag_full($box, '1', '\\Seen'));
if ($crm === 'suitecrm') {
    step('search', imap_search($box, 'UNDELETED UNSEEN', SE_UID));
    step('sort', imap_sort($box, SORTDATE, true, SE_UID));
    step('whole', imap_fetchbody($box, 2, '', FT_UID | FT_PEEK));
    step('append', imap_append($box, $server . 'Sent', "Subject: from SuiteCRM\r\n\r\nx\r\n", '\\Seen'));
    step('create', imap_createmailbox($box, $server . 'Archive'));
    step('subscribe', imap_subscribe($box, $server . 'Archive'));
    step('rename', imap_renamemailbox($box, $server . 'Archive', $server . 'Archive2'));
    step('delete', imap_deletemailbox($box, $server . 'Archive2'));
    step('reopen', imap_reopen($box, $server . 'Sent', CL_EXPUNGE));
    step('reopen', imap_reopen($box, $server . 'INBOX', CL_EXPUNGE));
} else {
    step('search', imap_search($box, 'SUBJECT "Devis"', SE_FREE, 'UTF-8') ?: []);
    step('search', imap_search($box, 'UNDELETED SINCE 1-Mar-2024', SE_UID, 'UTF-8'));
}
step('move', imap_mail_move($box, (string) $count, 'Trash'));
step('expunge', imap_expunge($box));
$left = step('count', imap_num_msg($box));
step('close', imap_close($box, CL_EXPUNGE));
echo json_encode([
    'failed' => $failed,
    'complaints' => $complaints,
    'warnings' => $warnings,
    'seconds' => $seconds,
    'moved' => $count - $left,
    'names' => array_map(fn($name) => substr($name, strlen($server)), $names ?: []),
], JSON_UNESCAPED_SLASHES), "\n";

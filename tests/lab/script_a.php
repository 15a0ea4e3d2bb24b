<?php
/**
 * A CRM's day on PHP's imap extension, in vtiger's pattern: one session a page, everything by the c-client library.
 *
 *   php script_a.php HOST PORT FLAGS USER PASSWORD PREFIX DELIMITER
 *
 * FLAGS are c-client's ("/ssl/novalidate-cert", "/notls"). Mailboxes are called here as the CRM calls them ("Sent",
 * "Clients/Dupont SARL"); PREFIX and DELIMITER say how the server at hand does ("INBOX." and "."). The answer is one
 * JSON document, with names turned back, so that two runs against the same mail behind different names can be compared
 * as text. What may differ (UIDVALIDITY) stands apart, under "apart".
 *
 * The mailbox is expected to hold the letters of tests/corpus; the test that runs this lays them out.
 */

error_reporting(E_ALL);
date_default_timezone_set('UTC');
[, $host, $port, $flags, $user, $password, $prefix, $delimiter] = $argv;
$server = '{' . "$host:$port/imap$flags" . '}';
$pages = [];
$apart = [];
$warnings = [];
set_error_handler(function (int $level, string $text) use (&$warnings): bool {
    $warnings[] = $text;
    return true;
});

/** The name as this server spells it, in modified UTF-7, without the part in braces. */
function wire(string $name): string
{
    global $prefix, $delimiter;
    if ($name === 'INBOX') {
        return $name;
    }
    return to_utf7($prefix . str_replace('/', $delimiter, $name));
}

/** Modified UTF-7, RFC 3501 5.1.3. The library's own imap_utf8_to_mutf7 is not in every build of PHP. */
function to_utf7(string $name): string
{
    return preg_replace_callback('/&|[^ -~]+/u', fn($found) => $found[0] === '&' ? '&-' : '&' .
        strtr(rtrim(base64_encode(iconv('UTF-8', 'UTF-16BE', $found[0])), '='), '/', ',') . '-', $name);
}

function from_utf7(string $name): string
{
    return preg_replace_callback('/&([^-]*)-/', fn($found) => $found[1] === '' ? '&' :
        iconv('UTF-16BE', 'UTF-8', base64_decode(strtr($found[1], ',', '/'))), $name);
}

/** The whole specification of a mailbox for imap_open and its like. */
function spec(string $name): string
{
    return $GLOBALS['server'] . wire($name);
}

/** A name of the server as the CRM calls it. */
function local(string $wire): string
{
    global $server, $prefix, $delimiter;
    if (str_starts_with($wire, '{')) {
        $wire = substr($wire, strpos($wire, '}') + 1);
    }
    if ($wire === 'INBOX') {
        return $wire;
    }
    $name = from_utf7($wire);
    if ($prefix !== '' && str_starts_with($name, $prefix)) {
        $name = substr($name, strlen($prefix));
    }
    return str_replace($delimiter, '/', $name);
}

/** Makes a value fit for JSON: octets that are not UTF-8 become base64, objects arrays in order of their keys. */
function plain(mixed $value): mixed
{
    if (is_object($value)) {
        $value = get_object_vars($value);
        ksort($value);
    }
    if (is_array($value)) {
        return array_map('plain', $value);
    }
    if (is_string($value) && preg_match('//u', $value) !== 1) {
        return 'base64:' . base64_encode($value);
    }
    return $value;
}

/** Runs one page of the CRM: a session of its own, as every page of a PHP application. */
function page(string $title, string $mailbox, callable $work): void
{
    global $pages, $user, $password, $warnings;
    $session = imap_open(spec($mailbox), $user, $password, 0, 1, ['DISABLE_AUTHENTICATOR' => 'GSSAPI']);
    $result = ['opened' => $session !== false, 'on open' => told()];
    if ($session !== false) {
        $result['steps'] = [];
        $step = function (string $name, mixed $value) use (&$result): mixed {
            $result['steps'][] = ['step' => $name, 'result' => plain($value)] + told();
            return $value;
        };
        $work($session, $step);
        imap_close($session);
        $result['on close'] = told();
    }
    $pages[] = ['page' => $title] + $result;
}

/** What the library complains of; empty between two steps that went well. */
function told(): array
{
    global $warnings;
    $told = ['errors' => imap_errors() ?: [], 'alerts' => imap_alerts() ?: [], 'warnings' => $warnings];
    $warnings = [];
    return array_filter($told);
}

/** A refusal, of which only the fact counts: its words name mailboxes and servers. */
function refused(mixed $value): array
{
    global $warnings;
    $complained = imap_errors() !== false || $warnings !== [];
    $warnings = [];
    return ['value' => $value, 'complained' => $complained];
}

/**
 * LIST or LSUB as the CRM sees it. INBOX has children where a prefix puts all mailboxes below it, and none else; LSUB
 * tells of children at some servers only.
 */
function listed(array|false $mailboxes, int $children = LATT_HASCHILDREN | LATT_HASNOCHILDREN): array|false
{
    if ($mailboxes === false) {
        return false;
    }
    $seen = [];
    foreach ($mailboxes as $mailbox) {
        $name = local($mailbox->name);
        $mask = $name === 'INBOX' ? LATT_NOSELECT : LATT_NOSELECT | $children;
        $seen[$name] = $mailbox->attributes & $mask;
        if ($mailbox->delimiter !== $GLOBALS['delimiter']) {
            $seen[$name] = "delimiter $mailbox->delimiter";
        }
    }
    ksort($seen);
    return $seen;
}

function names(array|false $mailboxes): array|false
{
    if ($mailboxes === false) {
        return false;
    }
    $names = array_map('local', $mailboxes);
    sort($names);
    return $names;
}

function status(IMAP\Connection $session, string $name): mixed
{
    $status = imap_status($session, spec($name), SA_ALL);
    if ($status !== false) {
        $GLOBALS['apart'][] = ['uidvalidity of' => $name, 'is' => $status->uidvalidity];
        unset($status->uidvalidity);
    }
    return $status;
}

/** Every part of a message, by the numbers that FETCH knows them under. */
function parts(object $structure, string $number = ''): array
{
    $numbers = [];
    foreach ($structure->parts ?? [] as $index => $part) {
        $own = ltrim("$number." . ($index + 1), '.');
        $numbers[] = $own;
        // A message within a message: its parts are numbered as those of the multipart it holds.
        $inner = $part->type === TYPEMESSAGE && isset($part->parts[0]->parts) ? $part->parts[0] : $part;
        array_push($numbers, ...parts($inner, $own));
    }
    return $numbers;
}

$folders = ['INBOX', 'Clients', 'Clients/Dupont SARL', 'Drafts', 'Junk', 'Kunden-Ärger', 'Sent', 'Trash', 'Été 2024',
    'Été 2024/Devis & co'];

page('folders', 'INBOX', function ($session, $step) use ($folders, $server, $prefix, $delimiter) {
    $step('getmailboxes *', listed(imap_getmailboxes($session, $server, '*')));
    $step('list *', names(imap_list($session, $server, '*')));
    // INBOX stands outside the prefix, where there is one.
    $level = array_diff(imap_list($session, $server, $prefix . '%'), [$server . 'INBOX']);
    $step('list one level', names($level));
    $step('list below one', names(imap_list($session, $server, wire('Clients') . $delimiter . '*')));
    $step('list by name', names(imap_list($session, $server, wire('Été 2024'))));
    $step('list nothing', names(imap_list($session, $server, wire('Nothing'))));
    $step('getsubscribed *', listed(imap_getsubscribed($session, $server, '*'), 0));
    $step('lsub *', names(imap_lsub($session, $server, '*')));
    foreach ($folders as $name) {
        $step("status $name", status($session, $name));
    }
    $step('status of nothing', refused(imap_status($session, spec('Nothing'), SA_ALL)));
    $step('ping', imap_ping($session));
});

page('message list', 'INBOX', function ($session, $step) {
    $check = imap_check($session);
    $step('check', [$check->Driver, $check->Nmsgs, $check->Recent]);
    $step('num_msg', imap_num_msg($session));
    $step('num_recent', imap_num_recent($session));
    $all = imap_mailboxmsginfo($session);
    $step('mailboxmsginfo', [$all->Nmsgs, $all->Unread, $all->Deleted, $all->Recent, $all->Size]);
    $step('overview of all', imap_fetch_overview($session, '1:*'));
    $step('overview of some', imap_fetch_overview($session, '1,3:4'));
    $step('overview backwards', imap_fetch_overview($session, '4:2'));
    $uid = imap_uid($session, 2);
    $step('overview by uid', imap_fetch_overview($session, (string) $uid, FT_UID));
    $step('uid and back', [$uid, imap_msgno($session, $uid)]);
    $step('headers', imap_headers($session));
    foreach (range(1, imap_num_msg($session)) as $number) {
        $step("headerinfo $number", imap_headerinfo($session, $number));
    }
    foreach ([SORTDATE, SORTARRIVAL, SORTFROM, SORTSUBJECT, SORTSIZE] as $key) {
        $step("sort by $key", imap_sort($session, $key, true));
    }
    $step('sort some by uid', imap_sort($session, SORTDATE, false, SE_UID, 'UNDELETED', 'UTF-8'));
    $step('thread', imap_thread($session));
});

page('message', 'INBOX', function ($session, $step) {
    foreach (range(1, imap_num_msg($session)) as $number) {
        $structure = $step("structure of $number", imap_fetchstructure($session, $number));
        $step("header of $number", imap_fetchheader($session, $number));
        $step("header and text of $number", imap_fetchheader($session, $number, FT_PREFETCHTEXT));
        $step("whole of $number", imap_fetchbody($session, $number, '', FT_PEEK));
        foreach (parts($structure) as $part) {
            $step("part $part of $number", imap_fetchbody($session, $number, $part, FT_PEEK));
            $step("MIME of part $part of $number", imap_fetchmime($session, $number, $part, FT_PEEK));
            $step("bodystruct $part of $number", imap_bodystruct($session, $number, $part));
        }
        $step("body of $number by uid", imap_body($session, imap_uid($session, $number), FT_UID | FT_PEEK));
    }
    $step('part that is not there', refused(imap_fetchbody($session, 1, '9.9', FT_PEEK)));
    $step('reading marks as seen', [
        imap_fetch_overview($session, '1')[0]->seen,
        strlen(imap_fetchbody($session, 1, '1')),
        imap_fetch_overview($session, '1')[0]->seen,
    ]);
});

page('flags', 'INBOX', function ($session, $step) {
    $flags = fn() => array_map(
        fn($o) => [$o->uid, $o->seen, $o->flagged, $o->answered, $o->deleted, $o->draft],
        imap_fetch_overview($session, '1:*')
    );
    $step('set seen', imap_setflag_full($session, '1:2', '\\Seen'));
    $step('set flagged by uid', imap_setflag_full($session, (string) imap_uid($session, 3), '\\Flagged', ST_UID));
    $step('set two in capitals', imap_setflag_full($session, '4', '\\SEEN \\ANSWERED'));
    $step('flags', $flags());
    $step('clear seen', imap_clearflag_full($session, '2', '\\Seen'));
    $step('clear flagged by uid', imap_clearflag_full($session, (string) imap_uid($session, 3), '\\Flagged', ST_UID));
    $step('delete', imap_delete($session, '5'));
    $step('flags', $flags());
    $step('undelete', imap_undelete($session, '5'));
    $step('flags', $flags());
});

page('search', 'INBOX', function ($session, $step) {
    $asked = ['ALL', 'UNSEEN', 'SEEN', 'FLAGGED', 'UNDELETED UNSEEN', 'SUBJECT "Order"', 'FROM "client.test"', 'TO "sales"',
        'CC "archive"', 'BODY "order"', 'TEXT "literal {5}"', 'SUBJECT "{5}"', 'SUBJECT "a" TEXT "e"', 'SINCE 5-Mar-2024',
        'BEFORE 6-Mar-2024', 'ON 4-Mar-2024', 'SUBJECT "absent"', 'KEYWORD important'];
    foreach ($asked as $criteria) {
        $step("search $criteria", imap_search($session, $criteria));
        $step("search by uid $criteria", imap_search($session, $criteria, SE_UID));
    }
    foreach (['SUBJECT "été"', 'BODY "signé"', 'TEXT "Grüße"', 'FROM "Lefèvre" SUBJECT "révisé"', 'SUBJECT "März"'] as $criteria) {
        $step("search UTF-8 $criteria", imap_search($session, $criteria, SE_UID, 'UTF-8'));
        $step("sort UTF-8 $criteria", imap_sort($session, SORTDATE, true, SE_UID, $criteria, 'UTF-8'));
    }
    $step('charset that nobody has', refused(imap_search($session, 'SUBJECT "x"', SE_UID, 'X-UNHEARD-OF')));
});

$sent = "From: sales@ovh.test\r\nTo: c.martin@client.test\r\nSubject: =?UTF-8?Q?R=C3=A9ponse?=\r\n" .
    "Date: Mon, 11 Mar 2024 10:00:00 +0100\r\nMessage-ID: <answer@ovh.test>\r\nMIME-Version: 1.0\r\n" .
    "Content-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nVoilà.\r\n.\r\n";

page('sent copy', 'INBOX', function ($session, $step) use ($sent) {
    $step('append seen', imap_append($session, spec('Sent'), $sent, '\\Seen', '11-Mar-2024 10:00:01 +0100'));
    $step('append bare', imap_append($session, spec('Drafts'), $sent, '\\Draft', '01-Mar-2024 00:00:00 +0000'));
    $step('append to UTF-7', imap_append($session, spec('Été 2024/Devis & co'), $sent, null, '02-Mar-2024 00:00:00 +0000'));
    $step('append nowhere', refused(imap_append($session, spec('Nothing'), $sent)));
    $step('status Sent', status($session, 'Sent'));
    $step('reopen', imap_reopen($session, spec('Sent')));
    $step('overview', imap_fetch_overview($session, '1:*'));
    $step('whole', imap_fetchbody($session, 1, '', FT_PEEK));
    $step('reopen', imap_reopen($session, spec('Été 2024/Devis & co')));
    $step('whole', imap_fetchbody($session, imap_num_msg($session), '', FT_PEEK));
});

page('copy and move', 'INBOX', function ($session, $step) {
    $step('copy', imap_mail_copy($session, '1:2', wire('Clients/Dupont SARL')));
    $step('copy by uid', imap_mail_copy($session, (string) imap_uid($session, 3), wire('Kunden-Ärger'), CP_UID));
    $step('copy nowhere', refused(imap_mail_copy($session, '1', wire('Nothing'))));
    $step('move to trash', imap_mail_move($session, '2', wire('Trash')));
    $step('move to trash by uid', imap_mail_move($session, (string) imap_uid($session, 4), wire('Trash'), CP_UID));
    $step('before expunge', imap_num_msg($session));
    $step('expunge', imap_expunge($session));
    $step('after expunge', imap_fetch_overview($session, '1:*'));
    foreach (['Clients/Dupont SARL', 'Kunden-Ärger', 'Trash'] as $name) {
        $step("status $name", status($session, $name));
        $step("reopen $name", imap_reopen($session, spec($name)));
        $step("overview of $name", imap_fetch_overview($session, '1:*'));
    }
    $step('empty trash', [imap_delete($session, '1:*'), imap_expunge($session), imap_num_msg($session)]);
});

page('folder names', 'INBOX', function ($session, $step) use ($server, $sent) {
    $made = ['Prospects', 'Café & thé', 'Größe', 'Clients/Société Générale', 'Æther — 日本'];
    foreach ($made as $name) {
        $step("create $name", imap_createmailbox($session, spec($name)));
        $step("subscribe $name", imap_subscribe($session, spec($name)));
        $step("append to $name", imap_append($session, spec($name), $sent));
    }
    $step('create again', refused(imap_createmailbox($session, spec('Prospects'))));
    $step('list', listed(imap_getmailboxes($session, $server, '*')));
    $step('lsub', names(imap_lsub($session, $server, '*')));
    $step('rename', imap_renamemailbox($session, spec('Café & thé'), spec('Été 2024/Café')));
    $step('rename back', imap_renamemailbox($session, spec('Größe'), spec('Groesse')));
    $step('rename of nothing', refused(imap_renamemailbox($session, spec('Nothing'), spec('Something'))));
    $step('reopen renamed', imap_reopen($session, spec('Été 2024/Café')));
    $step('renamed holds', imap_num_msg($session));
    $step('reopen', imap_reopen($session, spec('INBOX')));
    $step('unsubscribe', imap_unsubscribe($session, spec('Café & thé')));
    $step('list', listed(imap_getmailboxes($session, $server, '*')));
    $step('lsub', names(imap_lsub($session, $server, '*')));
    foreach (['Prospects', 'Été 2024/Café', 'Groesse', 'Clients/Société Générale', 'Æther — 日本'] as $name) {
        $step("unsubscribe $name", imap_unsubscribe($session, spec($name)));
        $step("delete $name", imap_deletemailbox($session, spec($name)));
    }
    $step('unsubscribe', imap_unsubscribe($session, spec('Größe')));
    $step('delete nothing', refused(imap_deletemailbox($session, spec('Nothing'))));
    $step('list', listed(imap_getmailboxes($session, $server, '*')));
    $step('lsub', names(imap_lsub($session, $server, '*')));
});

foreach ($folders as $name) {
    page("open $name", $name, function ($session, $step) use ($name) {
        $step('num_msg', imap_num_msg($session));
        $step('status while open', status($session, $name));
    });
}

// A SELECT that fails leaves c-client half open: the session exists, the text of the NO is its error.
$session = imap_open(spec('Nothing'), $user, $password, 0, 1, ['DISABLE_AUTHENTICATOR' => 'GSSAPI']);
$pages[] = ['page' => 'mailbox that is not there', 'refused' => refused($session !== false)];
$session = imap_open(spec('INBOX'), $user, $password . 'x', 0, 1, ['DISABLE_AUTHENTICATOR' => 'GSSAPI']);
$pages[] = ['page' => 'wrong password', 'refused' => refused($session !== false)];

$how = JSON_PRETTY_PRINT | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR;
echo json_encode(['pages' => $pages, 'apart' => $apart], $how), "\n";

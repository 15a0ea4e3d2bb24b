<?php
/**
 * A CRM that sends by PHPMailer and, in vtiger's pattern, puts its own copy into Sent by PHP's imap extension: with the Bcc
 * that is not sent.
 *
 *   php phpmailer.php HOST SMTP-PORT IMAP-PORT USER PASSWORD ADDRESS SUBJECT COPY
 *
 * COPY is "copy" or "none". The answer is one JSON document; "message" is what was sent, in Base64.
 */

require '/usr/share/php/libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\PHPMailer;

error_reporting(E_ALL);
date_default_timezone_set('UTC');
[, $host, $smtp, $imap, $user, $password, $address, $subject, $copy] = $argv;

$mail = new PHPMailer(true);
$mail->isSMTP();
$mail->Host = $host;
$mail->Port = (int) $smtp;
$mail->SMTPAuth = true;
$mail->SMTPAutoTLS = false;
$mail->Username = $user;
$mail->Password = $password;
$mail->CharSet = PHPMailer::CHARSET_UTF8;
$mail->setFrom($address, 'Amélie Martin');
$mail->addAddress($address);
$mail->Subject = $subject;
$mail->isHTML(true);
$mail->Body = '<p>Ci-joint le devis demandé.</p>';
$mail->AltBody = "Ci-joint le devis demandé.\n.\nà bientôt";
$mail->addStringAttachment(str_repeat("%PDF-1.4\n", 2000), 'devis n° 7.pdf');
$sent = $mail->send();

$appended = null;
if ($copy === 'copy') {
    $server = '{' . "$host:$imap/imap/notls" . '}';
    $connection = imap_open("{$server}INBOX", $user, $password);
    $appended = imap_append($connection, "{$server}Sent", "Bcc: boss@ovh.test\r\n" . $mail->getSentMIMEMessage(), '\\Seen');
    imap_close($connection);
}
echo json_encode([
    'sent' => $sent,
    'appended' => $appended,
    'message' => base64_encode($mail->getSentMIMEMessage()),
    'errors' => imap_errors() ?: [],
]), "\n";

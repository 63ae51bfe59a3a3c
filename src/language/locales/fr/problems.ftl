# The problem types in French: the titles, and the advice. The English ones are in http/problem_type.rs.

malformed-request = La requête est illisible
    .advice = Envoyez un seul en-tête Host et un corps complet : du JSON en UTF-8, sans nom de membre en double.
unauthenticated = Les identifiants manquent ou sont incorrects
    .advice =
        Envoyez l’adresse e-mail et le mot de passe par authentification HTTP Basic, en UTF-8. Le membre detail indique ce
        qui manque. Si une adresse en attente a été inscrite de nouveau, seul le dernier mot de passe est valable. Si le
        titulaire de l’adresse a supprimé l’inscription par le lien de son message, inscrivez-vous de nouveau.
account-disabled = Le compte est désactivé
    .advice = Les identifiants sont corrects, mais un opérateur a désactivé le compte. Contactez l’opérateur.
forbidden = Réservé aux administrateurs
    .advice =
        Les identifiants sont corrects, mais le rôle de l’utilisateur n’est pas admin. Adressez-vous à un administrateur ou
        à l’opérateur : la commande sixty users crée le premier administrateur.
registration-closed = Les inscriptions sont fermées
    .advice =
        L’exploitant du service n’accepte plus de nouvelles inscriptions. Demandez-lui un compte. Une inscription en attente peut
        encore être activée, et les comptes fonctionnent comme avant.
user-not-found = Cet utilisateur n’existe pas
    .advice =
        Cherchez l’identifiant de l’utilisateur avec GET /v1/users. Chaque inscription reçoit un nouvel identifiant.
not-found = Il n’y a rien ici
    .advice =
        Comparez le chemin avec /openapi.json. Les majuscules, une barre oblique finale et un /v1 manquant comptent.
method-not-allowed = Ce chemin n’accepte pas cette méthode
    .advice = Utilisez une méthode indiquée par l’en-tête de réponse Allow.
email-taken = L’adresse a déjà un compte
    .advice = Utilisez le compte avec son mot de passe. Rien n’a changé, et aucun message n’est envoyé.
already-active = Le compte est déjà actif
    .advice = Il n’y a rien à faire : un compte actif n’a pas besoin de code.
not-active = Le compte n’est pas actif
    .advice =
        Activez d’abord le compte avec le code du message. Rien n’a changé. Pour GET /v1/auth, le statut est 403.
last-admin = Il ne resterait aucun administrateur
    .advice = Donnez d’abord le rôle admin à un autre compte actif. Rien n’a changé.
code-expired = Il n’y a pas de code valable
    .advice =
        Demandez un autre code avec POST /v1/users/me/verification-code. Utilisez-le dans la minute qui suit le message. Si
        le titulaire de l’adresse a supprimé l’inscription par le lien de son message, inscrivez-vous de nouveau.
payload-too-large = Le corps est trop grand
    .advice = N’envoyez que les membres déclarés par l’opération. Ils tiennent dans 16 Kio.
unsupported-media-type = Le type de média du corps n’est pas pris en charge
    .advice = Envoyez Content-Type: application/json.
invalid-field = Un champ n’est pas valable
    .advice = Le membre errors énumère chaque champ non valable et ce qu’il doit contenir.
incorrect-code = Le code est incorrect
    .advice =
        Comparez le code avec le dernier message. Le membre attempts_remaining indique le nombre d’essais restants. Après le
        dernier essai manqué, le code est détruit : demandez un autre code.
too-many-codes = Un code a été demandé il y a trop peu de temps
    .advice =
        Cherchez le message contenant le code, ou attendez retry_after secondes et demandez un autre code. L’attente double
        à chaque code. Elle repart de zéro après un jour sans code.
too-many-requests = Trop de requêtes depuis ce réseau
    .advice =
        Attendez retry_after secondes. Le service limite par réseau les inscriptions, les demandes de code, les changements
        de mot de passe, les codes incorrects et les identifiants incorrects. Un réseau est une adresse IPv4, ou les
        64 premiers bits d’une adresse IPv6. Rien n’a changé.
internal = Le service a échoué
    .advice =
        La requête n’est pas la cause de l’erreur. Signalez le X-Request-Id de la réponse à l’opérateur.
unavailable = Le service est momentanément indisponible
    .advice = Renvoyez la même requête après retry_after secondes.

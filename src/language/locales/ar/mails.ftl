# Mails in Arabic. See en/mails.ftl.

## Parts of sentences

# In the genitive: these stand after "خلال".
minutes = { $n ->
    [zero] { $n } دقيقة
    [one] دقيقة واحدة
    [two] دقيقتين
    [few] { $n } دقائق
    [many] { $n } دقيقة
   *[other] { $n } دقيقة
}
seconds = { $n ->
    [zero] { $n } ثانية
    [one] ثانية واحدة
    [two] ثانيتين
    [few] { $n } ثوانٍ
    [many] { $n } ثانية
   *[other] { $n } ثانية
}
hours = { $n ->
    [zero] { $n } ساعة
    [one] ساعة واحدة
    [two] ساعتين
    [few] { $n } ساعات
    [many] { $n } ساعة
   *[other] { $n } ساعة
}
# Stands after "التواصل مع".
people = { $contact ->
    [none] القائمين على { $service }
   *[other] القائمين على { $service } ({ $contact })
}

## Parts of several mails

code-line = رمزك في { $service } هو { $code }
spelled = رقمًا رقمًا: { $spelled }.
account-why = تصلك هذه الرسالة لأن لديك حسابًا في { $service }.
learned-nothing = إن لم يصدر ذلك عنك فلا يلزمك فعل شيء: لم يعرف ذلك الشخص شيئًا ولا يستطيع الدخول إلى حسابك.

## The code of a registration

code-subject = رمزك في { $service }
code-enter = يُرجى إدخاله خلال { $ttl } لتفعيل حسابك. وبعد ذلك يمكنك طلب رمز آخر.
code-why =
    تصلك هذه الرسالة لأن شخصًا سجّل في { $service } بعنوانك. إن لم يصدر ذلك عنك فلا يلزمك فعل شيء: لا يُنشأ أي حساب من دون
    الرمز. لحذف التسجيل يُرجى فتح هذا الرابط خلال يوم واحد والضغط على الزر:
not-me-link = لست أنا

## Somebody registered the address of an account

existing-account-subject = لديك حساب في { $service } بالفعل
existing-account-what = سجّل شخص ما بعنوانك للتو، وقد يكون هذا الشخص أنت. لديك حساب بالفعل، ولم يتغيّر فيه شيء.
existing-account-if-you =
    إن صدر ذلك عنك فيُرجى تسجيل الدخول بكلمة المرور التي اخترتها للحساب. وإن نسيتها فلن يفيد التسجيل من جديد: يُرجى طلب رمز
    لتعيين كلمة مرور جديدة، أو التواصل مع { people }.
existing-account-if-not =
    { learned-nothing } لحذف ذلك التسجيل يُرجى فتح هذا الرابط خلال يوم واحد والضغط على الزر، وسيبقى حسابك كما هو:

## The account was activated

activated-subject = حسابك في { $service } مُفعَّل
activated-what = فُعِّل حسابك في { $service } للتو برمز أُرسل إلى هذا العنوان. إن صدر ذلك عنك فلا يلزمك فعل شيء.
activated-if-not =
    وإن لم يصدر ذلك عنك فهناك من يستطيع قراءة بريدك. يُرجى أولًا تغيير كلمة مرور بريدك، ثم التواصل مع { people } لحذف
    الحساب.

## The people who run the service activated the account

activated-by-operator-subject = { activated-subject }
activated-by-operator-what = فعّل القائمون على { $service } حسابك. كلمة المرور هي التي اخترتها عند التسجيل.
activated-by-operator-if-not = إن لم تكن قد سجّلت فيُرجى التواصل مع { people }.

## The password was changed

password-changed-subject = تغيّرت كلمة مرورك في { $service }
password-changed-what =
    غُيِّرت كلمة مرور حسابك في { $service } للتو. إن صدر ذلك عنك أو بطلب منك فلا يلزمك فعل شيء.
password-changed-if-not =
    وإلا فربما كان شخص ما يعرف كلمة مرورك السابقة. يُرجى طلب رمز لتعيين كلمة مرور جديدة، أو التواصل مع { people }. ويُرجى
    تغيير كلمة المرور السابقة في كل مكان آخر استُخدمت فيه.

## The code for a new password

reset-code-subject = رمزك لتعيين كلمة مرور جديدة في { $service }
reset-code-line = رمزك لتعيين كلمة مرور جديدة هو { $code }
reset-code-enter = يُرجى إدخاله خلال { $ttl } مع كلمة المرور الجديدة. وبعد ذلك يمكنك طلب رمز آخر.
reset-code-if-not =
    إن لم يصدر هذا الطلب عنك فلا يلزمك فعل شيء: لا يستطيع أحد تغيير كلمة مرورك من دون هذا الرمز. يُرجى عدم إعطائه لأحد.

## The password was set anew with a code

password-reset-subject = عُيِّنت كلمة مرور جديدة لحسابك في { $service }
password-reset-what =
    عُيِّنت للتو كلمة مرور جديدة لحسابك في { $service } برمز أُرسل إلى هذا العنوان. إن صدر ذلك عنك فلا يلزمك فعل شيء.
password-reset-if-not =
    وإن لم يصدر ذلك عنك فهناك من يستطيع قراءة بريدك. يُرجى أولًا تغيير كلمة مرور بريدك، ثم طلب رمز لتعيين كلمة مرور جديدة في
    { $service }، أو التواصل مع { people }.

## The code for another address

address-code-subject = رمزك في { $service } لهذا العنوان
address-code-enter =
    يُرجى إدخاله خلال { $ttl } ليصبح هذا العنوان عنوان حسابك في { $service }. وبعد ذلك يمكنك طلب رمز آخر.
address-code-if-not =
    إن لم يصدر ذلك عنك فلا يلزمك فعل شيء: ربما أخطأ شخص ما في كتابة عنوانه. ولن يتغيّر شيء من دون الرمز.

## Somebody wants to move an account to the address of another one

address-taken-subject = لم يتغيّر حسابك في { $service }
address-taken-what =
    طلب شخص ما أن يصبح هذا العنوان عنوان حساب آخر في { $service }، وقد يكون هذا الشخص أنت. لديك بالفعل حساب بهذا العنوان،
    ولذلك لم يتغيّر شيء.
address-taken-if-you =
    إن صدر ذلك عنك فيُرجى تسجيل الدخول بهذا العنوان وكلمة مروره، أو اختيار عنوان مختلف للحساب الآخر.

## The address is being changed: to the old one

address-change-subject = يجري تغيير عنوان حسابك في { $service }
address-change-what =
    طلب شخص ما تغيير عنوان حسابك في { $service }، وقد يكون هذا الشخص أنت. إن صدر ذلك عنك فلا يلزمك فعل شيء.
address-change-if-not =
    وإن لم يصدر ذلك عنك فهناك من يعرف كلمة مرورك. يُرجى فتح هذا الرابط خلال { $lifetime }: فهو يلغي التغيير، وسيلزمك بعد ذلك
    تعيين كلمة مرور جديدة.
address-change-link = إلغاء التغيير

## The change of the address was taken back

address-restored-subject = استعاد حسابك في { $service } هذا العنوان
address-restored-what =
    أُلغي تغيير العنوان: عاد هذا العنوان عنوان حسابك في { $service }. لم تعد كلمة المرور السابقة صالحة، فقد يعرفها شخص آخر.
address-restored-next =
    يُرجى الآن تعيين كلمة مرور جديدة بطلب رمز، كما في حالة كلمة مرور منسية، واختيار كلمة لا تُستخدم في أي مكان آخر.
address-restored-help = إن تعذّر ذلك فيُرجى التواصل مع { people }.
